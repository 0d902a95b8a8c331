"""The configuration file: read, checked and typed, before anything is loaded, opened or attached.

`load` gives a `Config` or a `ConfigError` with every mistake in the file; `describe` is the graph that it would build.
"""

from ingrain.config.file import load
from ingrain.config.graph import describe
from ingrain.config.model import Config, LogConfig, PipelineConfig, ProbeConfig
from ingrain.config.problems import ConfigError, Problem

__all__ = ["Config", "ConfigError", "LogConfig", "PipelineConfig", "ProbeConfig", "Problem", "describe", "load"]
