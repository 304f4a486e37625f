// Who is at work, for how long, and the heartbeat that keeps their tasks while they are.

const GAP = 30_000; // a longer pause is not work
const IDLE = 5 * 60_000; // after this the tasks may go to somebody else
const BEAT = 60_000;

export class Clock {
  /** `held()` names the tasks to keep; `lost(task)` is told when somebody else has one. */
  constructor(held, lost) {
    Object.assign(this, { held, lost, work: 0, last: performance.now() });
    for (const kind of ["pointerdown", "pointermove", "keydown", "scroll", "input"]) {
      addEventListener(kind, () => this.touch(), { passive: true, capture: true });
    }
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.touch(); });
  }

  touch() {
    const now = performance.now();
    const gap = now - this.last;
    this.last = now;
    if (gap < GAP) this.work += gap;
    if (gap > IDLE) this.beat(); // back after a pause: are the tasks still ours?
  }

  /** Whether somebody sits before the page. */
  present() { return !document.hidden && performance.now() - this.last < IDLE; }

  /** Start to measure a task, unless it was begun before. */
  begin(task) {
    this.touch();
    if (task.began === undefined) Object.assign(task, { began: performance.now(), workBefore: this.work });
    this.schedule();
  }

  pause(task) {
    this.touch();
    Object.assign(task, { left: performance.now(), workLeft: this.work });
  }

  /** What happened since `pause` was not on this task. */
  resume(task) {
    this.touch();
    task.began += performance.now() - task.left;
    task.workBefore += this.work - task.workLeft;
  }

  /** Milliseconds at work on the task, and since it was shown. */
  read(task) {
    this.touch();
    return { active: Math.round(this.work - task.workBefore), total: Math.round(performance.now() - task.began) };
  }

  schedule() {
    const left = Math.min(...this.held().map((task) => task.leaseUntil - Date.now()), 3 * BEAT);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tick(), Math.min(BEAT, Math.max(left / 3, 500)));
  }

  async tick() {
    if (this.present()) await this.beat();
    this.schedule();
  }

  async beat() { await Promise.all(this.held().map((task) => this.renew(task))); }

  async renew(task) {
    const answer = await fetch(`/v1/assignments/${task.id}:renew`, { method: "POST" }).catch(() => null);
    if (answer?.ok) task.leaseUntil = Date.parse((await answer.json()).lease_until);
    else if (answer?.status === 409) this.lost(task, (await answer.json().catch(() => ({}))).type);
  }
}
