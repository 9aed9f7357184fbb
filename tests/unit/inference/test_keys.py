"""What is remembered of keys is what would be found out anew, and long keys are not kept."""

from netmgr_proxy.inference.keys import LONGEST, remembered


def test_a_usual_key_is_judged_once_and_a_long_one_each_time() -> None:
    asked: list[str] = []

    @remembered
    def judge(key: str) -> int:
        asked.append(key)
        return len(key)

    usual, long = "a" * LONGEST, "b" * (LONGEST + 1)
    assert [judge(usual), judge(usual), judge(long), judge(long)] == [64, 64, 65, 65]
    assert asked == [usual, long, long]
