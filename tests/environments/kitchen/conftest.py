import importlib.util

# gymnasium-robotics is asked for no more than it must be: importing it is slow and loud.
collect_ignore_glob = [] if importlib.util.find_spec("gymnasium_robotics") else ["test_*"]
