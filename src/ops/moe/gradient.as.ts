/** The gradient of the weighted sum of experts (see moe.gradient.ts), a kernel a pass. */
import { dotF32, load4, sigmoid, store4, sumF32 } from "../simd.inline.as";

/** Behind the buffers of a pass. */
@unmanaged
class ExpertSizes {
  T: i32;
  H: i32;
  I: i32;
  E: i32;
  topK: i32;
  strideH: i32;
  strideI: i32;
}

@inline
function bufferOf(args: usize, index: i32): usize {
  return load<usize>(args + ((<usize>index) << 2));
}

@inline
function at(base: usize, index: i32): usize {
  return base + ((<usize>index) << 2);
}

/** to += factor · from. */
@inline
function addScaled(to: usize, from: usize, factor: f32, count: i32): void {
  const f = f32x4.splat(factor);
  for (let c = 0; c < count; c += 4) {
    const left = count - c;
    const offset = (<usize>c) << 2;
    store4(to + offset, f32x4.add(load4(to + offset, left), f32x4.mul(f, load4(from + offset, left))), left);
  }
}

/** Pairs by expert, in their order. One task. */
export function moeLists(args: usize, begin: i32, end: i32, worker: i32): void {
  const experts = bufferOf(args, 0);
  const starts = bufferOf(args, 1);
  const lists = bufferOf(args, 2);
  const s = changetype<ExpertSizes>(args + 12);
  const pairs = s.T * s.topK;
  memory.fill(starts, 0, (<usize>(s.E + 1)) << 2);
  for (let i = 0; i < pairs; i++) {
    const count = at(starts, load<i32>(at(experts, i)) + 1);
    store<i32>(count, load<i32>(count) + 1);
  }
  for (let e = 0; e < s.E; e++) {
    store<i32>(at(starts, e + 1), load<i32>(at(starts, e + 1)) + load<i32>(at(starts, e)));
  }
  // The starts move as lists fill, and are moved back afterwards.
  for (let i = 0; i < pairs; i++) {
    const next = at(starts, load<i32>(at(experts, i)));
    store<i32>(at(lists, load<i32>(next)), i);
    store<i32>(next, load<i32>(next) + 1);
  }
  for (let e = s.E; e > 0; e--) store<i32>(at(starts, e), load<i32>(at(starts, e - 1)));
  store<i32>(starts, 0);
}

/** Gate and up of a pair. */
export function moeHidden(args: usize, begin: i32, end: i32, worker: i32): void {
  const x = bufferOf(args, 0);
  const experts = bufferOf(args, 1);
  const gateUp = bufferOf(args, 2);
  const hidden = bufferOf(args, 3);
  const s = changetype<ExpertSizes>(args + 16);
  for (let pair = begin; pair < end; pair++) {
    const token = at(x, (pair / s.topK) * s.H);
    const first = load<i32>(at(experts, pair)) * 2 * s.I;
    for (let r = 0; r < 2 * s.I; r++) {
      store<f32>(at(hidden, pair * 2 * s.I + r), dotF32(token, at(gateUp, (first + r) * s.strideH), s.H));
    }
  }
}

/** Inner activations of a pair, their gradients, and that of the pair's weight. */
export function moeInner(args: usize, begin: i32, end: i32, worker: i32): void {
  const dy = bufferOf(args, 0);
  const experts = bufferOf(args, 1);
  const weights = bufferOf(args, 2);
  const down = bufferOf(args, 3);
  const hidden = bufferOf(args, 4);
  const inner = bufferOf(args, 5);
  const dHidden = bufferOf(args, 6);
  const dWeights = bufferOf(args, 7);
  const s = changetype<ExpertSizes>(args + 32);
  const I = s.I;
  for (let pair = begin; pair < end; pair++) {
    const token = at(dy, (pair / s.topK) * s.H);
    const rows = load<i32>(at(experts, pair)) * s.H;
    // dA first lies where the gate's gradient will be.
    const dA = at(dHidden, pair * 2 * I);
    memory.fill(dA, 0, (<usize>I) << 2);
    for (let c = 0; c < s.H; c++) addScaled(dA, at(down, (rows + c) * s.strideI), load<f32>(at(token, c)), I);
    const weight = f32x4.splat(load<f32>(at(weights, pair)));
    const one = f32x4.splat(1);
    let sums = f32x4.splat(0);
    for (let i = 0; i < I; i += 4) {
      const left = I - i;
      const gate = load4(at(hidden, pair * 2 * I + i), left);
      const up = load4(at(hidden, pair * 2 * I + I + i), left);
      const slope = load4(at(dA, i), left);
      const sig = sigmoid(gate);
      const lit = f32x4.mul(gate, sig);
      const a = f32x4.mul(lit, up);
      store4(at(inner, pair * I + i), a, left);
      sums = f32x4.add(sums, f32x4.mul(a, slope));
      const pulled = f32x4.mul(weight, slope);
      const bend = f32x4.mul(sig, f32x4.add(one, f32x4.mul(gate, f32x4.sub(one, sig))));
      store4(at(dA, i), f32x4.mul(f32x4.mul(pulled, up), bend), left);
      store4(at(dA, I + i), f32x4.mul(pulled, lit), left);
    }
    store<f32>(at(dWeights, pair), sumF32(sums));
  }
}

/** The gradient of a token. */
export function moeInputs(args: usize, begin: i32, end: i32, worker: i32): void {
  const dHidden = bufferOf(args, 0);
  const experts = bufferOf(args, 1);
  const gateUp = bufferOf(args, 2);
  const dx = bufferOf(args, 3);
  const s = changetype<ExpertSizes>(args + 16);
  for (let t = begin; t < end; t++) {
    const to = at(dx, t * s.H);
    memory.fill(to, 0, (<usize>s.H) << 2);
    for (let pair = t * s.topK; pair < (t + 1) * s.topK; pair++) {
      const first = load<i32>(at(experts, pair)) * 2 * s.I;
      for (let r = 0; r < 2 * s.I; r++) {
        addScaled(to, at(gateUp, (first + r) * s.strideH), load<f32>(at(dHidden, pair * 2 * s.I + r)), s.H);
      }
    }
  }
}

/** A row of the gates' and ups' gradient. */
export function moeGateUps(args: usize, begin: i32, end: i32, worker: i32): void {
  const x = bufferOf(args, 0);
  const dHidden = bufferOf(args, 1);
  const starts = bufferOf(args, 2);
  const lists = bufferOf(args, 3);
  const dGateUp = bufferOf(args, 4);
  const s = changetype<ExpertSizes>(args + 20);
  for (let row = begin; row < end; row++) {
    const e = row / (2 * s.I);
    const r = row % (2 * s.I);
    const to = at(dGateUp, row * s.strideH);
    memory.fill(to, 0, (<usize>s.strideH) << 2);
    const last = load<i32>(at(starts, e + 1));
    for (let n = load<i32>(at(starts, e)); n < last; n++) {
      const pair = load<i32>(at(lists, n));
      addScaled(to, at(x, (pair / s.topK) * s.H), load<f32>(at(dHidden, pair * 2 * s.I + r)), s.H);
    }
  }
}

/** A row of the downs' gradient. */
export function moeDowns(args: usize, begin: i32, end: i32, worker: i32): void {
  const dy = bufferOf(args, 0);
  const weights = bufferOf(args, 1);
  const inner = bufferOf(args, 2);
  const starts = bufferOf(args, 3);
  const lists = bufferOf(args, 4);
  const dDown = bufferOf(args, 5);
  const s = changetype<ExpertSizes>(args + 24);
  for (let row = begin; row < end; row++) {
    const e = row / s.H;
    const c = row % s.H;
    const to = at(dDown, row * s.strideI);
    memory.fill(to, 0, (<usize>s.strideI) << 2);
    const last = load<i32>(at(starts, e + 1));
    for (let n = load<i32>(at(starts, e)); n < last; n++) {
      const pair = load<i32>(at(lists, n));
      const factor = load<f32>(at(weights, pair)) * load<f32>(at(dy, (pair / s.topK) * s.H + c));
      addScaled(to, at(inner, pair * s.I), factor, s.I);
    }
  }
}
