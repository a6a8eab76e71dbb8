"""How both brokers log: one line each to their own file, at a level that helps to read a failed test."""

from __future__ import annotations

from pathlib import Path

_LOG4J = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSS} %-5p [%t] %c{1} - %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
# A line for each call of the admin API, and pages of settings at every start.
logger.requests.name = org.eclipse.jetty.server.RequestLog
logger.requests.level = warn
logger.client.name = org.apache.pulsar.client
logger.client.level = warn
"""


def write_log4j_configuration(directory: Path) -> Path:
    """Write the configuration below `directory` and return its path."""
    file = directory / "log4j2.properties"
    file.write_text(_LOG4J, encoding="utf-8")
    return file
