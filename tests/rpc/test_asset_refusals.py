"""`EmitAssetMetrics`: what is refused, with its fields and limits, and that nothing of it is stored."""

from __future__ import annotations

import pytest
from streamgauge_server.services.asset_values import BEYOND_INT64

from tests.rpc.asset_messages import URN, emit, name_of, newest, samples
from tests.rpc.emit_messages import answered, assert_empty, asset_metrics, asset_urns, metric, request
from tests.rpc.messages import DAY, NOW, Scalar
from tests.rpc.serving import Stubs, invalid


class TestRefusals:
    @pytest.mark.parametrize(
        ("item", "asked", "problem"),
        [
            (18, "BOOLEAN", "is BOOLEAN, which the value 18 is not"),
            (1, "BOOLEAN", "is BOOLEAN, which the value 1 is not"),
            (18, "STRING", "is STRING, which the value 18 is not"),
            (0.5, "STRING", "is STRING, which the value 0.5 is not"),
            (True, "STRING", "is STRING, which the value true is not"),
            (True, "NUMBER", "is NUMBER, which the value true is not"),
            ("true", "NUMBER", "is NUMBER, which the value 'true' is not"),
            ("50", "BOOLEAN", "is BOOLEAN, which the value '50' is not"),
            ("True", "BOOLEAN", "is BOOLEAN, which the value 'True' is not"),
            ("abc", "NUMBER", "is NUMBER, which the value 'abc' is not"),
            ("1e400", "NUMBER", "is NUMBER, which the value '1e400' is not"),
            ("x" * 100, "NUMBER", f"is NUMBER, which the value '{'x' * 32}'... is not"),
        ],
    )
    async def test_a_type_that_does_not_match_its_value(
        self, stubs: Stubs, item: Scalar, asked: str, problem: str
    ) -> None:
        with invalid("VALUE_TYPE_MISMATCH") as refusal:
            await stubs.assets.EmitAssetMetrics(request(metric("ok", 1), metric("bad", item, asked)))
        assert refusal.violations == {"metrics[1].value_type": problem}
        assert refusal.reasons == {"metrics[1].value_type": "VALUE_TYPE_MISMATCH"}
        actual = {bool: "BOOLEAN", str: "STRING"}.get(type(item), "NUMBER")
        told = {key: refusal.metadata[key] for key in ("metric", "expected", "actual")}
        assert told == {"metric": "bad", "expected": asked, "actual": actual}
        await assert_empty(stubs)

    @pytest.mark.parametrize("number", [4, 7, -1])
    async def test_a_type_that_there_is_not(self, stubs: Stubs, number: int) -> None:
        with invalid() as refusal:
            await stubs.assets.EmitAssetMetrics(request(metric("a", 1, number)))
        assert refusal.violations == {"metrics[0].value_type": f"must be one of STRING, NUMBER, BOOLEAN, is {number}"}

    @pytest.mark.parametrize(
        ("item", "problem"),
        [
            (None, "must have exactly one of double_value, int64_value, bool_value, string_value"),
            (float("nan"), "must be finite, is nan"),
            (float("inf"), "must be finite, is inf"),
            (float("-inf"), "must be finite, is -inf"),
            ("x" * 4_097, "must have at most 4096 bytes, has 4097"),
            ("ü" * 2_049, "must have at most 4096 bytes, has 4098"),
            ("a\0b", "must not hold NUL"),
            ("12345678901234567890", BEYOND_INT64),
            ("-9223372036854775809", BEYOND_INT64),
        ],
    )
    async def test_a_value_that_cannot_be_stored(self, stubs: Stubs, item: Scalar | None, problem: str) -> None:
        with invalid() as refusal:
            await stubs.assets.EmitAssetMetrics(request(metric("ok", 1), metric("bad", item)))
        assert refusal.violations == {"metrics[1].value": problem}
        await assert_empty(stubs)

    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("", "must not be empty"),
            (" a", "must not begin or end with a blank"),
            ("a ", "must not begin or end with a blank"),
            ("a\u00a0", "must not begin or end with a blank"),
            ("\u2003a", "must not begin or end with a blank"),
            (" ", "must not begin or end with a blank"),
            ("a\tb", "must not hold control characters"),
            ("a\0", "must not hold control characters"),
            ("\x7f", "must not hold control characters"),
            ("\x85", "must not hold control characters"),
            ("n" * 256, "must have at most 255 characters, has 256"),
            ("ü" * 256, "must have at most 255 characters, has 256"),
        ],
    )
    async def test_a_name_that_is_none(self, stubs: Stubs, name: str, problem: str) -> None:
        with invalid() as refusal:
            await stubs.assets.EmitAssetMetrics(request(metric("ok", 1), metric(name, 1)))
        assert refusal.violations == {"metrics[1].name": problem}
        await assert_empty(stubs)

    async def test_names_of_255_characters_pass_and_case_matters(self, stubs: Stubs) -> None:
        values: dict[str, Scalar] = {"n" * 255: 1, "N" * 255: 2, "\U0001f44b" * 255: 3, "a b.c/d%20": 4}
        await emit(stubs, values)
        assert await newest(stubs) == values

    @pytest.mark.parametrize(
        ("asset", "problem"),
        [
            ("", "must not be empty"),
            ("orders", "must be a URN, such as"),
            ("urn:", "must be a URN, such as"),
            ("urn:li:", "must be a URN, such as"),
            ("urn:-x:y", "must be a URN, such as"),
            ("http://example.org", "must be a URN, such as"),
            (" urn:li:x", "must not begin or end with a blank"),
            ("urn:li:x ", "must not begin or end with a blank"),
            ("urn:li:a\nb", "must not hold control characters"),
            ("urn:li:a\0b", "must not hold control characters"),
            ("urn:li:" + "x" * 4_090, "must have at most 4096 bytes, has 4097"),
            ("urn:li:" + "ü" * 2_045, "must have at most 4096 bytes, has 4097"),
            ("assets/", "must be 'assets/' and the 40 hexadecimal digits"),
            ("assets/a b", "must be 'assets/' and the 40 hexadecimal digits"),
            ("assets/" + "x" * 5_000, "must be 'assets/' and the 40 hexadecimal digits"),
            ("sources/a", "must be a URN, such as"),
        ],
    )
    async def test_an_asset_that_is_none(self, stubs: Stubs, asset: str, problem: str) -> None:
        with invalid() as refusal:
            await emit(stubs, {"a": 1}, asset=asset)
        assert list(refusal.violations) == ["asset"]
        assert refusal.violations["asset"].startswith(problem)
        await assert_empty(stubs)

    async def test_nothing_to_emit(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await emit(stubs, {})
        assert refusal.violations == {"metrics": "must have 1 to 10000 entries, has 0"}

    async def test_10000_metrics_pass_and_one_more_does_not(self, stubs: Stubs) -> None:
        values: dict[str, Scalar] = {f"m{n}": (n, n / 7, n % 2 == 0, f"text {n}")[n % 4] for n in range(10_001)}
        with invalid() as refusal:
            await emit(stubs, values)
        assert refusal.violations == {"metrics": "must have 1 to 10000 entries, has 10001"}
        await assert_empty(stubs)
        del values["m10000"]
        answer = await emit(stubs, values)
        assert {name: item for name, (_, item, _) in answered(answer).items()} == values
        assert await newest(stubs) == values

    @pytest.mark.parametrize("field", ["run_id", "request_id"])
    @pytest.mark.parametrize("bad", ["x" * 129, "a\nb", "grün", "\x7f"])
    async def test_a_run_or_request_id_that_is_none(self, stubs: Stubs, field: str, bad: str) -> None:
        message = request(metric("a", 1))
        setattr(message, field, bad)
        with invalid() as refusal:
            await stubs.assets.EmitAssetMetrics(message)
        assert refusal.violations == {field: f"must have 1 to 128 printable ASCII characters, has {len(bad)}"}
        await assert_empty(stubs)

    async def test_a_merged_answer_to_what_is_only_validated(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await stubs.assets.EmitAssetMetrics(request(metric("a", 1), return_merged=True, validate_only=True))
        assert refusal.violations == {"return_merged": "does not go together with validate_only"}

    async def test_all_that_is_wrong_is_told_at_once_and_nothing_is_stored(self, stubs: Stubs) -> None:
        await emit(stubs, {"before": 1})
        with invalid() as refusal:
            await stubs.assets.EmitAssetMetrics(
                request(
                    metric("good", 1),
                    metric("", float("nan"), 9),
                    metric("flag", 18, "BOOLEAN"),
                    metric(" x", None),
                    metric("huge", "99999999999999999999"),
                    at=NOW + 2 * DAY,
                    asset="no urn",
                    run_id="\n",
                    request_id="r" * 200,
                )
            )
        assert refusal.reasons == {
            "asset": "INVALID_FIELD",
            "time": "INVALID_FIELD",
            "run_id": "INVALID_FIELD",
            "request_id": "INVALID_FIELD",
            "metrics[1].name": "INVALID_FIELD",
            "metrics[1].value": "INVALID_FIELD",
            "metrics[1].value_type": "INVALID_FIELD",
            "metrics[2].value_type": "VALUE_TYPE_MISMATCH",
            "metrics[3].name": "INVALID_FIELD",
            "metrics[3].value": "INVALID_FIELD",
            "metrics[4].value": "INVALID_FIELD",
        }
        assert await samples(stubs) == {NOW: {"before": 1}}
        assert await asset_metrics(stubs) == {"before"}

    async def test_one_bad_metric_refuses_all_of_them(self, stubs: Stubs) -> None:
        metrics = [metric(f"m{n}", n) for n in range(1_000)]
        with invalid("VALUE_TYPE_MISMATCH") as refusal:
            await stubs.assets.EmitAssetMetrics(request(*metrics, metric("bad", "x", "NUMBER")))
        assert list(refusal.violations) == ["metrics[1000].value_type"]
        await assert_empty(stubs)

    async def test_more_violations_than_a_status_holds_are_counted(self, stubs: Stubs) -> None:
        with invalid("VALUE_TYPE_MISMATCH") as refusal:
            await stubs.assets.EmitAssetMetrics(request(*[metric(f"m{n}", n, "STRING") for n in range(10_000)]))
        assert len(refusal.violations) + int(refusal.metadata["violations_omitted"]) == 10_000


HOSTILE = [
    URN,
    "urn:li:dataset:(urn:li:dataPlatform:s3,bucket/a/../b/c.parquet,PROD)",
    "urn:li:dataset:(urn:li:dataPlatform:x,a%2Fb%25c%,PROD)",
    "urn:li:dataset:(urn:li:dataPlatform:x,a%252Fb,PROD)",
    "urn:li:x:with a blank,  two and 'quotes\"",
    "urn:li:x:Straße 👋 \u200d ﷽",
    "urn:li:x:%00?#&=+;:@\\|*~`{}[]<>^$!",
    "urn:li:x:a\u202eb",
    "urn:X-ns:" + "(,)" * 1_000,
    "urn:li:" + "x" * 4_089,
    "urn:li:" + "ü" * 2_044 + "x",
    "URN:LI:x",
]


class TestUrns:
    @pytest.mark.parametrize("urn", HOSTILE)
    async def test_hostile_urns_are_taken_as_they_are(self, stubs: Stubs, urn: str) -> None:
        answer = await emit(stubs, {"a": 1, "b": "x"}, asset=urn)
        assert (answer.asset, answer.urn) == (name_of(urn), urn)
        assert await samples(stubs, urn) == {NOW: {"a": 1, "b": "x"}}
        assert await newest(stubs, answer.asset) == {"a": 1, "b": "x"}
        assert await asset_urns(stubs) == [urn]

    async def test_urns_that_differ_in_a_byte_are_different_assets(self, stubs: Stubs) -> None:
        urns = [
            "urn:li:a", "urn:li:A", "URN:li:a", "urn:li:a%20", "urn:li:a%2520", "urn:li:a+", "urn:li:a/", "urn:li:a b",
            "urn:li:a\u0301", "urn:li:\u00e1", "urn:li:" + "x" * 4_088 + "1", "urn:li:" + "x" * 4_088 + "2",
        ]  # fmt: skip
        for position, urn in enumerate(urns):
            await emit(stubs, {"position": position}, asset=urn)
        assert [await newest(stubs, urn) for urn in urns] == [{"position": n} for n in range(len(urns))]
