/** Kernels that only the tests of this folder launch: they show the order of launches and what a trap does. */
import { isFirstCall } from "./worker.inline.as";

@unmanaged
class StepArgs {
  values: usize;
  count: i32;
  step: i32;
}

/**
 * Exchanges pairs of elements and mixes task and step into them. Each task owns its pair, and the pairs shift with `step`:
 * two launches that overlap in time, or swap places, change the result.
 */
export function checkStep(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<StepArgs>(args);
  for (let task = begin; task < end; task++) {
    const left = g.values + <usize>((task + g.step) % g.count) * 4;
    const right = g.values + <usize>((2 * g.count - 1 - task + g.step) % g.count) * 4;
    const a = load<i32>(left);
    const b = load<i32>(right);
    store<i32>(left, b * 3 + g.step);
    store<i32>(right, a * 5 + task);
  }
}

@unmanaged
class TrapArgs {
  /** Executes `unreachable` (1), or reads outside the memory (2), at task `at`. */
  how: i32;
  at: i32;
  seen: usize;
}

/** Marks each task as seen, and traps at one. */
export function checkTrap(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<TrapArgs>(args);
  for (let task = begin; task < end; task++) {
    if (task == g.at && g.how == 1) unreachable();
    if (task == g.at && g.how == 2) store<i32>(0xfffffff0, load<i32>(0xfffffff4));
    store<i32>(g.seen + <usize>task * 4, 1);
  }
}

@unmanaged
class ScratchArgs {
  scratch: usize;
  bytesPerWorker: i32;
  out: usize;
}

/** Fills the worker's scratch with the task's number and stores its sum: wrong if two workers share bytes. */
export function checkScratch(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<ScratchArgs>(args);
  const own = g.scratch + <usize>worker * g.bytesPerWorker;
  const words = g.bytesPerWorker >> 2;
  for (let task = begin; task < end; task++) {
    for (let i = 0; i < words; i++) store<i32>(own + ((<usize>i) << 2), task);
    let sum = 0;
    for (let i = 0; i < words; i++) sum += load<i32>(own + ((<usize>i) << 2));
    store<i32>(g.out + <usize>task * 4, sum);
  }
}

/** Stores each argument word from the third on: argument 0 is the target, 1 their count. */
export function checkArguments(args: usize, begin: i32, end: i32, worker: i32): void {
  const out = <usize>load<u32>(args);
  const count = load<i32>(args, 4);
  for (let i = 0; i < count; i++) store<i32>(out + ((<usize>i) << 2), load<i32>(args + ((<usize>i) << 2), 8));
}

@unmanaged
class FirstCallArgs {
  /** [tasks, 2]. */
  out: usize;
}

/** The worker of each task, and whether the task began the worker's first call. */
export function checkFirstCall(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<FirstCallArgs>(args);
  for (let task = begin; task < end; task++) {
    store<i32>(g.out + (<usize>task << 3), worker);
    store<i32>(g.out + (<usize>task << 3), i32(task == begin && isFirstCall(worker)), 4);
  }
}
