# SPDX-License-Identifier: Apache-2.0
"""joblib over a runtime: `register_ray()`, then `with joblib.parallel_backend("ray"): ...`."""


def register_ray() -> None:
    """Make the joblib backends "ray" and "polyray" known. ImportError without joblib."""
    from joblib.parallel import register_parallel_backend

    from polyray.util.joblib.ray_backend import RayBackend

    register_parallel_backend("ray", RayBackend)
    register_parallel_backend("polyray", RayBackend)


__all__ = ["register_ray"]
