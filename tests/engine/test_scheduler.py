"""Every job is answered once, in order, and computes over nothing but its own positions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs.engine.kv_cache import PAGE, Pages
from faster_higgs.engine.scheduler import BATCH, INTERACTIVE, Job, Scheduler, Step
from faster_higgs.errors import QueueFull, SettingError
from tests.engine.paged import Memory, keys_of


class Desk:
    """Carries out the steps of a scheduler on a cache of tokens, and looks over its shoulder."""

    def __init__(self, pages: int, slots: int = 4, chunk: int = 1000, max_waiting: int = 100):
        self.scheduler = Scheduler(Pages(pages), slots, chunk, max_waiting)
        self.slots, self.chunk, self.max_waiting = slots, chunk, max_waiting
        self.memory = Memory()
        self.content: dict[Job, list[int]] = {}  # all that a job will ever write
        self.now = 0
        self.accepted: list[int] = []
        self.answered: list[int] = []
        self.furthest: dict[Job, int] = {}  # positions ever written
        self.read = 0  # positions of prompts, again or not

    def add(self, prompt, new=1, priority=INTERACTIVE, deadline=None, spare=0) -> Job:
        """A job that finishes after `new` positions, though it may ask for `spare` more."""
        number = len(self.content)
        job = Job(
            number, len(prompt), len(prompt) + new + spare, keys_of(prompt), priority, deadline
        )
        self.scheduler.add(job)
        self.content[job] = [*prompt, *range(1000 * number, 1000 * number + new)]
        self.furthest[job] = 0
        self.accepted.append(number)
        return job

    def abort(self, number: int) -> None:
        if self.scheduler.abort(number):
            self.answered.append(number)

    def fail(self, after: int) -> None:
        """A step that breaks off at one of its prompts, whose request is then given up."""
        plan = self.scheduler.plan()
        for job in plan.decode:
            self.write(job, 1)
        prompts = plan.prefill
        for part in prompts[:after]:
            self.write(part.job, part.positions)
        for part in prompts[after : after + 1]:
            self.abort(part.job.id)

    def clear(self) -> None:
        """A step that broke so that nobody's work can be trusted."""
        for job in (*self.scheduler.running, *self.scheduler.waiting):
            self.abort(job.id)
        self.scheduler.pages.forget()
        self.memory = Memory()

    def step(self) -> Step:
        self.now += 1
        self.answered += self.scheduler.expired(self.now)
        before = set(self.scheduler.running)
        step = self.scheduler.plan()
        self.check_order(step)
        self.check_work(step, before)
        writes = [(part.job, part.positions) for part in step.prefill]
        for job, positions in writes + [(job, 1) for job in step.decode]:
            self.write(job, positions)
        self.check_books()
        return step

    def write(self, job: Job, positions: int) -> None:
        table, content = job.table, self.content[job]
        assert table.length >= table.shared * PAGE
        self.memory.write(table, content[table.length :][:positions])
        self.scheduler.advanced(job, positions)
        self.furthest[job] = max(self.furthest[job], table.length)
        if table.length == len(content):
            assert self.memory.read(table) == content
            self.scheduler.finish(job.id)
            self.answered.append(job.id)

    def check_order(self, step: Step) -> None:
        running, waiting = self.scheduler.running, self.scheduler.waiting
        for job in step.preempted:
            assert all(other.rank < job.rank for other in running), "others had to give way first"
            assert job in waiting
        for job in running:
            ahead = [other for other in waiting if other.priority == job.priority]
            assert all(job.rank < other.rank for other in ahead), "someone jumped the queue"
        assert list(running) == sorted(running, key=lambda job: job.rank)

    def check_work(self, step: Step, before: set[Job]) -> None:
        running = self.scheduler.running
        assert set(step.admitted) == set(running) - before
        assert set(step.preempted) == before - set(running)
        assert len({job.slot for job in running}) == len(running)
        assert all(job.slot in range(self.slots) for job in running)
        parts = [part.job for part in step.prefill]
        assert step.decode == [job for job in running if not job.unread]
        known = {job: max(job.prompt, self.furthest[job]) for job in running}
        assert all(job.table.length == known[job] for job in step.decode)
        assert parts == [job for job in running if job.unread][: len(parts)]
        read = sum(part.positions for part in step.prefill)
        assert read == min(self.chunk, sum(job.unread for job in running))
        assert all(part.start == part.job.table.length for part in step.prefill)
        assert parts or step.decode or not self.content.keys() & {*self.scheduler.waiting}
        self.read += read

    def check_books(self) -> None:
        running, waiting = self.scheduler.running, self.scheduler.waiting
        self.scheduler.pages.check([job.table for job in (*running, *waiting)])
        there = sorted(job.id for job in (*running, *waiting))
        assert sorted(self.answered + there) == self.accepted, "answered twice, or lost"
        assert all(job.slot is None and not job.table.pages for job in waiting)

    def until_idle(self) -> list[Step]:
        # A job may have to begin again for each page that a more important one takes.
        steps = []
        while self.scheduler.running or self.scheduler.waiting:
            steps.append(self.step())
            assert len(steps) < 10_000, "it never ends"
        return steps


DO = st.one_of(
    st.tuples(
        st.just("add"),
        st.integers(0, 2),  # voice
        st.sampled_from([0, 16, 40]),  # positions of its prefix
        st.integers(1, 20),  # positions of the text
        st.integers(1, 40),  # positions to be written
        st.sampled_from([INTERACTIVE, BATCH, BATCH]),
        st.sampled_from([None, None, None, 3, 30]),  # steps until the deadline
    ),
    st.tuples(st.just("step"), st.integers(1, 8)),
    st.tuples(st.just("abort"), st.integers(0, 12)),
    st.tuples(st.just("fail"), st.integers(0, 2)),
    st.tuples(st.just("clear"), st.none()),
)


def carry_out(desk: Desk, action: str, *numbers) -> None:
    if action == "step":
        for _ in range(numbers[0]):
            desk.step()
    elif action == "abort":
        desk.abort(numbers[0])
    elif action == "fail":
        desk.fail(numbers[0])
    elif action == "clear":
        desk.clear()
    else:
        voice, prefix, text, new, priority, patience = numbers
        deadline = None if patience is None else desk.now + patience
        prompt = [voice] * prefix + [text] * text
        try:
            desk.add(prompt, new, priority, deadline)
        except SettingError:
            assert len(prompt) + new > desk.scheduler.pages.total * PAGE
        except QueueFull:
            assert len(desk.scheduler.waiting) >= desk.max_waiting


WHATEVER = given(
    pages=st.integers(3, 8),
    slots=st.integers(2, 5),
    chunk=st.sampled_from([1, 5, 16, 60]),
    max_waiting=st.integers(0, 6),
    trace=st.lists(DO, min_size=6, max_size=24),
)


@settings(max_examples=600, deadline=None)
@WHATEVER
def test_whatever_comes_everyone_is_answered_once_and_nothing_is_lost(**day):
    live_through(**day)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None)
@WHATEVER
def test_the_same_for_a_minute(**day):
    live_through(**day)


def live_through(pages, slots, chunk, max_waiting, trace):
    desk = Desk(pages, slots, chunk, max_waiting)
    for action in trace:
        carry_out(desk, *action)
        desk.check_books()
    desk.until_idle()
    assert sorted(desk.answered) == desk.accepted
    pool = desk.scheduler.pages
    assert pool.free + pool.kept == pages
    pool.forget()
    assert pool.free == pages


VOICE = [1] * 64


def test_the_second_request_with_the_same_voice_reads_only_its_own_text():
    desk = Desk(pages=20)
    desk.add([*VOICE, 2, 2, 2])
    desk.until_idle()
    assert desk.read == 67
    desk.add([*VOICE, 3, 3])
    desk.until_idle()
    assert desk.read == 67 + 2


def test_requests_that_come_together_read_their_voice_once():
    desk = Desk(pages=40, slots=8, chunk=20)
    for text in range(2, 10):
        desk.add([*VOICE, text], new=5)
    steps = desk.until_idle()
    assert desk.read == 64 + 8
    assert len(steps[4].admitted) == 7  # all the others, once the voice is there


def test_the_last_position_of_a_prompt_is_always_computed():
    desk = Desk(pages=20)
    for _ in range(3):
        desk.add(VOICE)
        desk.until_idle()
    assert desk.read == 64 + 16 + 16  # a page is shared whole or not at all


def test_a_long_prompt_does_not_stall_those_who_speak():
    desk = Desk(pages=40, chunk=16)
    speaking = desk.add([1], new=50)
    desk.step()
    long = desk.add([2] * 160)
    for part in range(10):
        step = desk.step()
        assert step.decode == [speaking]
        assert step.prefill == [(long, 16 * part, 16)]


def test_who_came_first_goes_on_when_pages_run_out_and_the_other_resumes():
    desk = Desk(pages=5)
    first, second = desk.add([1] * 16, new=40), desk.add([2] * 24, new=40)
    steps = desk.until_idle()
    assert desk.answered == [first.id, second.id]
    assert [job for step in steps for job in step.preempted] == [second]
    assert second.goal == 40  # its prompt, and what it had written


def test_what_a_preempted_job_had_written_need_not_be_read_again_if_it_is_still_there():
    desk = Desk(pages=6)
    desk.add([1] * 17, new=60)
    second = desk.add([2] * 33, new=20)
    steps = desk.until_idle()
    assert [job for step in steps for job in step.preempted] == [second]
    parts = [part for step in steps for part in step.prefill if part.job is second]
    assert [(part.start, part.positions) for part in parts] == [(0, 33), (16, 32)]


def test_the_interactive_go_first_and_in_order():
    desk = Desk(pages=40, slots=1)
    wanted = [
        (desk.add([voice], priority=priority), priority)
        for voice, priority in enumerate([BATCH, INTERACTIVE, BATCH, INTERACTIVE])
    ]
    desk.until_idle()
    assert desk.answered == [job.id for job, priority in sorted(wanted, key=lambda pair: pair[1])]


@pytest.mark.parametrize("tight", [{"slots": 2}, {"pages": 5}], ids=["slots", "pages"])
def test_the_interactive_take_the_place_of_the_youngest_batch_job_and_of_no_other(tight):
    desk = Desk(**{"pages": 40, **tight})
    old, young = (desk.add([voice] * 20, new=9, priority=BATCH) for voice in (1, 2))
    desk.step()
    urgent = desk.add([3] * 17, new=9)
    step = desk.step()
    assert (step.preempted, step.admitted, step.decode) == ([young], [urgent], [old])
    equal = desk.add([4] * 17, new=9, priority=BATCH)
    assert not desk.step().preempted
    desk.until_idle()
    assert desk.answered.index(young.id) < desk.answered.index(equal.id)


def test_nobody_is_preempted_for_a_mere_reserve():
    desk = Desk(pages=5)
    batch = [desk.add([voice] * 20, new=9, priority=BATCH) for voice in (1, 2)]
    desk.step()
    desk.add([3])
    step = desk.step()
    assert len(step.admitted) == 1 and step.decode == batch


def test_a_job_that_was_preempted_while_it_was_read_is_read_to_its_end():
    desk = Desk(pages=9, slots=1, chunk=5)
    reading = desk.add([1] * 20, priority=BATCH)
    desk.step()
    desk.add([2])
    assert desk.step().preempted == [reading]
    assert (reading.goal, reading.unread) == (20, 20)
    desk.until_idle()


def test_nobody_is_preempted_in_vain():
    desk = Desk(pages=10)
    speaking, batch = desk.add([1] * 80, new=9), desk.add([2], priority=BATCH, new=9)
    desk.step()
    large = desk.add([3] * 112)  # would not fit beside the first, with or without the second
    step = desk.step()
    assert step.decode == [speaking, batch]
    assert desk.scheduler.waiting == (large,)


def test_a_deadline_ends_jobs_that_run_and_jobs_that_wait():
    desk = Desk(pages=10, slots=1)
    for deadline in (3, 3, None):
        desk.add([1], new=9, deadline=deadline)
    desk.step()
    desk.step()
    assert desk.scheduler.expired(2.9) == []
    assert desk.scheduler.expired(3.0) == [0, 1]
    assert [job.id for job in desk.scheduler.plan().admitted] == [2]


def test_a_full_queue_says_so_and_takes_what_is_more_important():
    desk = Desk(pages=10, slots=1, max_waiting=2)
    for _ in range(3):  # one of them has a free slot before it
        desk.add([1], priority=BATCH)
    with pytest.raises(QueueFull, match="3 requests are waiting already, and no more than 2 may"):
        desk.add([1], priority=BATCH)
    desk.add([1], priority=INTERACTIVE)
    desk.step()
    assert desk.answered == [] and len(desk.scheduler.waiting) == 3
    desk.until_idle()
    desk.add([1], priority=BATCH)


def test_a_job_that_can_never_fit_is_refused_with_the_numbers():
    desk = Desk(pages=3)
    desk.add([1] * 40, new=8)
    with pytest.raises(SettingError, match="may need 49 positions, but the cache holds 48"):
        desk.add([1] * 40, new=9)


def test_a_job_at_its_limit_writes_no_more():
    scheduler = Scheduler(Pages(4), slots=1, chunk=10, max_waiting=1)
    job = Job(7, prompt=3, limit=4)
    scheduler.add(job)
    for positions in (3, 1):
        assert any(scheduler.plan()[2:])
        scheduler.advanced(job, positions)
    assert not any(scheduler.plan())
    scheduler.finish(7)
    assert not scheduler.abort(7)
    assert scheduler.pages.free == 4
