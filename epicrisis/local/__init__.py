"""Real Apache Kafka and real PostgreSQL on this machine, under one state folder."""

from epicrisis.local.servers import Endpoints, Part, down, endpoints, status, up

__all__ = ["Endpoints", "Part", "down", "endpoints", "status", "up"]
