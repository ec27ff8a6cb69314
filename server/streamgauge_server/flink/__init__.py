"""Talks to Flink's REST API: a client with bounds, answers as dataclasses, and the figures computed from them."""
