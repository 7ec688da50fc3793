"""What Python 3.8 is given to run."""

import ast
import sys
from pathlib import Path

from dppo_rllib.environments.furniture.isaac import sidecar

TREE = ast.parse(Path(sidecar.__file__).read_text())


def imported(nodes):
    """Modules that statements import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


def test_its_grammar_is_that_of_python_38():
    ast.parse(Path(sidecar.__file__).read_text(), feature_version=(3, 8))


def test_it_imports_the_standard_library_numpy_and_torch_alone():
    """And PyTorch not before the simulator: IsaacGym refuses to be imported after it."""
    others = set(imported(ast.walk(TREE))) - set(sys.stdlib_module_names)
    assert others == {"numpy", "torch"}
    assert "torch" not in set(imported(TREE.body))


def test_it_names_nothing_of_isaacgym():
    """Only the fork does: nothing here could be checked against isaacgym-stubs."""
    names = {node.id for node in ast.walk(TREE) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(TREE) if isinstance(node, ast.Attribute)}
    assert not names & {"isaacgym", "gymapi", "gymtorch", "gymutil"}
