# SPDX-License-Identifier: Apache-2.0
"""Errors of the state API."""


class RayStateApiException(Exception):
    """The state could not be had, or what was asked for is not known."""


class ServerUnavailable(RayStateApiException):
    """The runtime does not answer."""


class DataSourceUnavailable(Exception):
    """A part of the runtime does not answer."""
