"""What can go wrong between the studio and nginx."""


class ProxyError(Exception):
    """nginx refuses what was written, or does not do what was asked; the message says where things stand."""
