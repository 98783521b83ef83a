"""vaebench: the published tables of classic variational models, each one command.

The way of the data is one direction:

    conf/table/*.yaml -> compose -> Cells -> data -> model + objective -> train -> evaluate -> store -> report / compare
"""

__version__ = "0.1.0"
