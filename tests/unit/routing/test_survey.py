"""What a file is warned of, its matrix, and where it permits more than another."""

from pathlib import Path

from netmgr.routing.cells import MAX_CELLS, axes, cells, left_out
from netmgr.routing.difference import differences, not_compared, widened
from netmgr.routing.generation import Generation
from netmgr.routing.language import RoutingFile
from netmgr.routing.schema import parse_routing, routing_from_doc
from netmgr.routing.survey import survey

TEXT = (Path(__file__).parents[3] / "examples/routing/routing.yaml").read_text()


def read(text: str = TEXT) -> RoutingFile:
    return parse_routing(text, "r.yaml")


def warnings(text: str) -> list[str]:
    return [f"{each.key}: {each.message}" for each in survey(Generation(read(text)))]


def test_the_example_has_nothing_odd() -> None:
    assert warnings(TEXT) == []


def test_what_nothing_reaches_is_told() -> None:
    assert warnings(TEXT.replace(", frontier-us]\n\nrules", "]\n\nrules")) == [
        "endpoints.frontier-us: no route leads to it"
    ]
    off = TEXT.replace(
        "    model: frontier-large\n", "    model: frontier-large\n    enabled: false\n"
    )
    assert "endpoints.frontier-us: is disabled" in warnings(off)


def test_a_rule_that_removes_all_or_nothing_is_told() -> None:
    nothing = TEXT.replace("{ price_out: { max: 1.0 } }", "{ price_out: { max: 99 } }").replace(
        "rejected: { frontier-us: batch-is-cheap }", "code: allowed"
    )
    assert any("batch-is-cheap: removes nothing" in each for each in warnings(nothing))
    everything = TEXT.replace("{ price_out: { max: 1.0 } }", "{ context: { min: 999999 } }")
    assert any("removes every endpoint" in each for each in warnings(everything))


def test_an_order_by_what_is_not_declared_is_told() -> None:
    text = TEXT.replace("      price: { in: 0.6, out: 0.8 }\n", "")
    assert any("price_out is not declared of managed-eu" in each for each in warnings(text))


def test_every_cell_is_another_request() -> None:
    file = read()
    over = axes(file)
    found = [tuple(cell.place.values()) for cell in cells(file, over)]
    assert len(found) == len(set(found)) > 100
    assert [axis.name for axis in over][:2] == ["label", "tenant"]
    assert left_out(over) == ()


def test_too_many_cells_are_left_out_and_told() -> None:
    doc = dict(read().doc)
    doc["rules"] = [
        {
            "id": f"r{n}",
            "when": {"tenant": f"t{n}", "workload": {f"k{n % 4}": f"v{n}"}},
            "require": {"operated_by": "self"},
        }
        for n in range(60)
    ]
    doc["tests"] = []
    file = routing_from_doc(doc)
    over = axes(file)
    assert "tokens" in left_out(over)
    assert sum(1 for _ in cells(file, over)) <= MAX_CELLS
    assert "tokens" in not_compared(read(), file)
    assert not_compared(file, file) == ()


def test_more_is_widening_and_less_is_not() -> None:
    wider = read(TEXT.replace("within: [eu] }", "within: [eu, us] }"))
    found = widened(read(), wider)
    assert found
    assert all(each.added == ("frontier-us",) for each in found)
    assert all("tenant (other)" not in str(each.cell) for each in found)
    assert widened(wider, read()) == []
    assert all(each.removed for each in differences(wider, read()))


def test_the_same_file_differs_in_nothing() -> None:
    assert list(differences(read(), read())) == []


def test_an_endpoint_that_leads_elsewhere_is_another_one() -> None:
    moved = read(TEXT.replace("provider: nvidia-eu", "provider: somebody-else"))
    assert any(each.added == ("managed-eu",) for each in widened(read(), moved))


def test_a_new_label_permits_nothing_that_was_permitted_before() -> None:
    more = TEXT.replace("[public, internal,", "[open, public, internal,")
    assert any("label open" in str(each.cell) for each in widened(read(), read(more)))


def test_a_capability_that_is_nearly_one_that_requests_need_is_told() -> None:
    text = TEXT.replace("capabilities: [vision]", "capabilities: [visoin]")
    assert any("'visoin'; did you mean 'vision'?" in each for each in warnings(text))
