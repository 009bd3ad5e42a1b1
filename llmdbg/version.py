"""The version, where every module may read it: nothing in the package imports its public face."""

__version__ = "0.1.0"
