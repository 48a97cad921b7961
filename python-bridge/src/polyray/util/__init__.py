# SPDX-License-Identifier: Apache-2.0
"""What Ray has under ray.util and is built here: pools of actors, queues, serializers, names."""

from polyray.actor import list_named_actors
from polyray.serialize import deregister_serializer, register_serializer
from polyray.util.actor_pool import ActorPool

__all__ = ["ActorPool", "deregister_serializer", "list_named_actors", "register_serializer"]
