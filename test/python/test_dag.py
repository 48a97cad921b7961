# SPDX-License-Identifier: Apache-2.0
"""Goal: graphs give what the same calls give, each node once a run, compiled or not.

Method: small graphs against one runtime; what Ray refuses is refused.
"""

from __future__ import annotations

import asyncio
import warnings
from dataclasses import dataclass
from typing import Any

import polyray as ray
import pytest
from polyray.dag import (
    ClassMethodNode,
    ClassNode,
    DAGContext,
    FunctionNode,
    InputNode,
    MultiOutputNode,
)
from polyray.exceptions import RayCgraphCapacityExceeded, RayChannelError, RayChannelTimeoutError
from polyray.util.annotations import RayDeprecationWarning

pytestmark = [
    pytest.mark.usefixtures("runtime"),
    pytest.mark.filterwarnings("ignore::polyray.util.annotations.RayDeprecationWarning"),
]


@ray.remote
def add(a: int, b: int) -> int:
    return a + b


@ray.remote
def total(values: dict[str, list[Any]]) -> int:
    return sum(ray.get(v) if isinstance(v, ray.ObjectRef) else v for v in values["all"])


@ray.remote
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.n = start
        self.calls = 0

    def inc(self, by: int) -> int:
        self.n += by
        return self.n

    def get(self) -> int:
        return self.n

    def echo(self, value: Any) -> Any:
        self.calls += 1
        return value

    def count(self) -> int:
        return self.calls

    @ray.method(num_returns=2)
    def two(self, value: int) -> tuple[int, int]:
        return value, value + 1

    def fail(self, value: Any) -> None:
        raise ValueError(f"no {value}")

    def slow(self, value: Any) -> Any:
        import time

        time.sleep(0.3)
        return value


@dataclass
class Box:
    inner: Any


def test_functions_compose_and_nested_nodes_become_refs() -> None:
    assert isinstance(add.bind(1, 2), FunctionNode)
    assert ray.get(add.bind(add.bind(1, 2), b=add.bind(3, 4)).execute()) == 10
    assert ray.get(total.bind({"all": [add.bind(1, 2), 3, ray.put(4)]}).execute()) == 10

    @ray.remote
    def opened(box: Box) -> int:
        return int(ray.get(box.inner))

    assert ray.get(opened.bind(Box(add.bind(2, 2))).execute()) == 4
    chain = add.bind(0, 0)
    for _ in range(300):
        chain = add.bind(chain, 1)
    assert ray.get(chain.execute()) == 300
    assert add.options(name="named").bind(1, 1).get_options() == {"name": "named"}
    with pytest.warns(RayDeprecationWarning, match="deprecated"):
        add.bind(1, 1).execute()


def test_a_node_that_is_used_twice_runs_once() -> None:
    counter = Counter.remote()
    shared = counter.echo.bind(5)
    dag = MultiOutputNode([add.bind(shared, 1), add.bind(shared, 2)])
    assert ray.get(dag.execute()) == [6, 7]
    assert ray.get(counter.count.remote()) == 1
    dag.execute(_ray_cache_refs=True)
    cached = asyncio.run(dag.get_object_refs_from_last_execute())
    assert ray.get(cached[shared.get_stable_uuid()]) == 5


def test_the_input_comes_whole_by_index_and_by_name() -> None:
    with InputNode() as inp:
        whole = add.bind(inp, 1)
    assert ray.get(whole.execute(4)) == 5
    with InputNode() as inp:
        parts = add.bind(inp[0], inp.x)
    assert ray.get(parts.execute(1, x=2)) == 3
    with InputNode() as inp:
        keyed = add.bind(inp["a"], inp["b"])
    assert ray.get(keyed.execute({"a": 3, "b": 4})) == 7
    with InputNode() as inp:
        attribute = add.bind(inp.inner, 1)
    assert ray.get(attribute.execute(Box(8))) == 9
    with pytest.raises(ValueError, match="should not take"):
        InputNode(1)
    with InputNode() as one, InputNode() as other:
        two_inputs = add.bind(one, other)
    with pytest.raises(AssertionError, match="unique InputNode"):
        two_inputs.execute(1)


def test_actors_are_made_by_the_graph_and_called_in_the_order_of_binding() -> None:
    counter = Counter.bind(10)
    assert isinstance(counter, ClassNode)
    counter.inc.bind(1)
    counter.inc.options(max_task_retries=1).bind(2)
    got = counter.get.bind()
    assert isinstance(got, ClassMethodNode)
    assert [ray.get(got.execute()), ray.get(got.execute())] == [13, 13]
    handle = Counter.bind(3).execute()
    assert ray.get(handle.get.remote()) == 3
    with pytest.raises(AttributeError, match="bind"):
        counter.bind()
    with pytest.raises(AttributeError):
        counter.nothing.bind()
    with pytest.raises(AttributeError, match="symbolic"):
        counter.inc.remote(1)
    with InputNode() as inp, pytest.raises(ValueError, match="InputNode"):
        Counter.bind(inp)


def test_several_results_and_the_text_of_a_graph() -> None:
    handle = Counter.remote()
    with InputNode() as inp:
        first, second = handle.two.bind(inp)
        dag = MultiOutputNode([second, first])
    assert ray.get(dag.execute(4)) == [5, 4]
    assert (second.output_idx, second.num_returns, second.is_class_method_output) == (1, 2, True)
    text = str(dag)
    assert "MultiOutputNode" in text
    assert "body=__InputNode__" in text
    seen: list[str] = []
    dag.apply_recursive(lambda node: seen.append(type(node).__name__))
    assert seen.count("InputNode") == 1
    assert seen[-1] == "MultiOutputNode"
    with pytest.raises(ValueError, match="Invalid input type"):
        MultiOutputNode(3)


def test_a_compiled_graph_runs_many_times_and_gives_each_result_once() -> None:
    a, b = Counter.remote(0), Counter.remote(100)
    with InputNode() as inp:
        dag = MultiOutputNode([a.inc.bind(inp), b.inc.bind(inp)])
    compiled = dag.experimental_compile()
    assert [ray.get(compiled.execute(1)) for _ in range(3)] == [[1, 101], [2, 102], [3, 103]]
    with pytest.raises(ValueError, match="multiple times"):
        dag.experimental_compile()
    with pytest.raises(ValueError, match="1 positional args, got 2"):
        compiled.execute(1, 2)
    compiled.teardown()
    with pytest.raises(RayChannelError):
        compiled.execute(1)
    assert ray.get(a.get.remote()) == 3

    with InputNode() as inp:
        chain = b.echo.bind(a.echo.bind(inp))
    compiled = chain.experimental_compile(_max_inflight_executions=2)
    held = [compiled.execute(1), compiled.execute(2)]
    with pytest.raises(RayCgraphCapacityExceeded, match="in-flight"):
        compiled.execute(3)
    assert held[0].get() == 1
    assert ray.get(compiled.execute(3)) == 3
    with pytest.raises(ValueError, match="only be called once"):
        ray.get(held[0])
    with pytest.raises(TypeError, match="cannot be pickled"):
        ray.get(add.remote(held[1], 1))
    with pytest.raises(ValueError, match="copied"):
        __import__("copy").copy(held[1])


def test_errors_and_late_results_of_compiled_graphs() -> None:
    a = Counter.remote(0)
    with InputNode() as inp:
        failing = a.fail.bind(inp).experimental_compile()
    with pytest.raises(ValueError, match="no 7"):
        ray.get(failing.execute(7))
    b = Counter.remote(0)
    with InputNode() as inp:
        slow = b.slow.bind(inp).experimental_compile()
    with pytest.raises(RayChannelTimeoutError, match="RAY_CGRAPH_get_timeout"):
        ray.get(slow.execute(1), timeout=0.01)


def test_a_compiled_graph_is_awaited() -> None:
    counter = Counter.remote(0)
    with InputNode() as inp:
        compiled = counter.inc.bind(inp[0]).experimental_compile(enable_asyncio=True)

    async def run() -> list[int]:
        futures = [await compiled.execute_async(1) for _ in range(3)]
        return [await future for future in futures]

    assert asyncio.run(run()) == [1, 2, 3]
    with pytest.raises(ValueError, match="execute_async"):
        compiled.execute(1)


def test_what_cannot_be_compiled_is_refused() -> None:
    a = Counter.remote(0)
    with pytest.raises(ValueError, match="No InputNode found"):
        a.echo.bind(1).experimental_compile()
    with InputNode() as one, InputNode() as other:
        two_inputs = MultiOutputNode([a.echo.bind(one), a.echo.bind(other)])
    with pytest.raises(NotImplementedError, match="exactly one InputNode"):
        two_inputs.experimental_compile()
    with InputNode() as inp, pytest.raises(NotImplementedError, match="actor method nodes"):
        add.bind(inp, 1).experimental_compile()
    with InputNode() as inp, pytest.raises(ValueError, match="already created"):
        Counter.bind(1).inc.bind(inp).experimental_compile()
    with InputNode() as inp, pytest.raises(ValueError, match="kwargs"):
        a.inc.bind(by=inp).experimental_compile()
    with InputNode() as inp, pytest.raises(ValueError, match="container"):
        a.echo.bind([inp]).experimental_compile()
    with InputNode() as inp:
        left = a.echo.bind(inp)
        a.inc.bind(inp)
        with pytest.raises(ValueError, match="leaf nodes"):
            left.experimental_compile()
    with pytest.raises(ValueError, match="read_iteration_timeout"):
        DAGContext(read_iteration_timeout=5, get_timeout=1)
    assert DAGContext.get_current() is DAGContext.get_current()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert DAGContext().max_inflight_executions == 10
