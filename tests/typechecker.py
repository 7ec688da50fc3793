"""The runtime type checker of the test run: beartype, with ints allowed where floats are."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
