"""The remaining time that a user is shown."""

import threading

import pytest

from synthct.flows.run.forecast import Forecast, step_bar


@pytest.fixture
def clock():
    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    return Clock()


def test_nothing_is_promised_before_the_first_step_ended(clock):
    forecast = Forecast({"a": 0.5, "b": 0.5}, clock)
    assert forecast.fraction_and_left_s() == (0.0, None)
    forecast.begin("a")
    clock.now = 7.0
    assert forecast.fraction_and_left_s() == (0.0, None)


def test_the_time_so_far_is_scaled_by_the_shares(clock):
    forecast = Forecast({"a": 0.2, "b": 0.6, "c": 0.2}, clock)
    forecast.begin("a")
    clock.now = 10.0  # a fifth took 10 s: 50 s in all
    forecast.begin("b")
    assert forecast.fraction_and_left_s() == pytest.approx((0.2, 40.0))
    clock.now = 25.0  # half of b's 30 s
    assert forecast.fraction_and_left_s() == pytest.approx((0.5, 25.0))


def test_a_step_that_takes_longer_never_says_it_is_over(clock):
    forecast = Forecast({"a": 0.5, "b": 0.5}, clock)
    forecast.begin("a")
    clock.now = 1.0
    forecast.begin("b")
    clock.now = 1000.0
    fraction, left_s = forecast.fraction_and_left_s()
    assert fraction < 1.0
    assert left_s > 0.0


def test_a_step_without_a_share_breaks_nothing(clock):
    forecast = Forecast({"a": 1.0}, clock)
    forecast.begin("back")
    assert forecast.fraction_and_left_s() == (0.0, None)


def test_the_bar_ends_when_the_job_raises():
    def job():
        with step_bar({"a": 1.0}) as tell:
            tell("a")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        job()
    assert "forecast" not in {thread.name for thread in threading.enumerate()}
