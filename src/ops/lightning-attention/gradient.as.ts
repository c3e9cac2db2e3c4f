/**
 * The gradient of lightning attention on the CPU (formulas: lightning-attention.gradient.wgsl.ts), in chunks of 32 tokens that follow
 * each other. A task is a head of a row and a direction: forwards with the state S, which gives dq, or backwards with its gradient
 * G, which gives dk, dv and the gradient of the state before the row. Everything is 4 × 8 products.
 */
import {
  addProducts, copyResult, dots, packMatrix, packOwner, packPassing, PANEL, TILE,
} from "../causal-attention/tile.inline.as";
import { storeTransposed } from "../matmul/tile.inline.as";
import { expScalar, store4 } from "../simd.inline.as";
import { multiplyStrided, packPanels, packScaled } from "./block.inline.as";

/** In the order of gradient.launch-cpu.ts. */
@unmanaged
class GradientArgs {
  /** [T, H, 3, D]. */
  qkv: usize;
  /** [T, H, D]. */
  dOut: usize;
  /** [slots, H, D, D], before the step. */
  state: usize;
  decay: usize;
  rows: usize;
  dQkv: usize;
  /** [slots, H, D, D]: of the state behind the step; becomes that of the state before it. */
  dState: usize;
  scratch: usize;
  scratchBytes: i32;
  heads: i32;
  headDim: i32;
}

/** exp(−slope · n), or 0 where it would lead to subnormal products (exp(−69) = 1e-30). */
// @ts-ignore: decorator
@inline
function decayOver(slope: f32, n: i32): f32 {
  const x = slope * <f32>n;
  return x > 69 ? 0 : expScalar(-x);
}

/** Multiplies two panels of a tile [line, 8] by λ to the distance; `decays` points at distance 0 of the first line's first owner. */
// @ts-ignore: decorator
@inline
function decayLines(sums: usize, decays: usize, from: i32, to: i32): void {
  for (let j = from; j < to; j++) {
    const at = sums + ((<usize>j) << 5);
    const factor = decays - ((<usize>j) << 2);
    v128.store(at, f32x4.mul(v128.load(at), v128.load(factor)));
    v128.store(at, f32x4.mul(v128.load(at, 16), v128.load(factor, 16)), 16);
  }
}

/** Multiplies line i of results [owner / 4, channel / 8, 4, 8] by its factor. */
function scaleResults(results: usize, panels: i32, count: i32, factors: usize): void {
  for (let i = 0; i < count; i += 4) {
    for (let c = 0; c < panels; c++) {
      for (let n = 0; n < 4; n++) {
        const f = v128.load32_splat(factors + ((<usize>(i + n)) << 2));
        v128.store(results, f32x4.mul(f, v128.load(results)));
        v128.store(results, f32x4.mul(f, v128.load(results, 16)), 16);
        results += 32;
      }
    }
  }
}

/** results = owners [line / 8, channel, 8]ᵀ · matrix [column / 8, channel, 8]. */
function project(owner: usize, count: i32, channels: i32, matrix: usize, panels: i32, results: usize): void {
  const ownerPanel = (<usize>channels) << 5;
  for (let i = 0; i < count; i += 4) {
    const lines = owner + (<usize>(i >> 3)) * ownerPanel + ((<usize>(i & 4)) << 2);
    for (let c = 0; c < panels; c++) {
      multiplyStrided(channels, lines, 32, matrix + <usize>c * ownerPanel, results, 0);
      results += 128;
    }
  }
}

/** matrix [column / 8, line, 8] = keep · matrix + scaled [token, line]ᵀ · columns [column / 8, token, 8]. */
function grow(scaled: usize, channels: i32, tokens: i32, columns: usize, panels: i32, matrix: usize, keep: f32): void {
  const lineBytes = (<usize>channels) << 2;
  const panelBytes = (<usize>channels) << 5;
  for (let c = 0; c < panels; c++) {
    for (let r = 0; r < channels; r += 4) {
      const at = matrix + <usize>c * panelBytes + ((<usize>r) << 5);
      multiplyStrided(tokens, scaled + ((<usize>r) << 2), lineBytes, columns + <usize>c * PANEL, at, keep);
    }
  }
}

/** to [line / 8, column, 8] = from [column / 8, line, 8]; columns up to a multiple of four exist in both. */
function turn(from: usize, channels: i32, to: usize): void {
  const panelBytes = (<usize>channels) << 5;
  for (let r = 0; r < channels; r += 4) {
    for (let c = 0; c < channels; c += 4) {
      const at = from + (<usize>(c >> 3)) * panelBytes + ((<usize>r) << 5) + ((<usize>(c & 4)) << 2);
      const place = to + (<usize>(r >> 3)) * panelBytes + ((<usize>c) << 5) + ((<usize>(r & 4)) << 2);
      storeTransposed(v128.load(at), v128.load(at, 32), v128.load(at, 64), v128.load(at, 96), place, 32);
    }
  }
}

export function lightningGradient(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<GradientArgs>(args);
  const D = g.headDim;
  const heads = g.heads;
  const channels = (D + 3) & ~3;
  const panels = (D + 7) >> 3;
  const line = (<usize>D) << 2;
  const ownerPanel = (<usize>channels) << 5;
  const lines = 4 * ownerPanel;
  const matrix = <usize>panels * PANEL;
  const resultPanel = (<usize>panels) << 8;
  // Scratch of this worker, in the order of scratchBytes (gradient.launch-cpu.ts).
  const rising = g.scratch + <usize>worker * <usize>g.scratchBytes + 128; // λ^n from n = −32 (0 below n = 0) to 63
  const falling = rising + 256 + 128; // λ^−n from n = −32 to 32 (0 above n = 0)
  const backTo = falling + 128; // λ^(m − 1 − n)
  const weights = backTo + 256;
  const pulled = weights + PANEL;
  const owner0 = pulled + PANEL;
  const owner1 = owner0 + lines;
  const passing0 = owner1 + lines;
  const passing1 = passing0 + lines;
  const scaled = passing1 + lines; // [token, channel]
  const matrix0 = scaled + lines;
  const matrix1 = matrix0 + matrix;
  const results0 = matrix1 + matrix;
  const results1 = results0 + 4 * resultPanel;
  const state = results1 + 4 * resultPanel; // [channel / 8, channel, 8]
  const turned = state + <usize>panels * ownerPanel;
  for (let task = begin; task < end; task++) {
    const isForward = task % 2 == 0;
    const head = (task >> 1) % heads;
    const row = g.rows + ((<usize>((task >> 1) / heads)) << 4);
    const first = load<i32>(row);
    const count = load<i32>(row, 4);
    const slot = load<i32>(row, 8);
    const tokenBytes = <usize>heads * line;
    const up = g.dOut + <usize>first * tokenBytes + <usize>head * line;
    const q = g.qkv + 3 * (<usize>first * tokenBytes + <usize>head * line);
    const dq = g.dQkv + 3 * (<usize>first * tokenBytes + <usize>head * line);
    if (slot < 0) {
      for (let t = 0; t < count; t++) {
        const at = dq + <usize>t * 3 * tokenBytes;
        if (isForward) memory.fill(at, 0, line);
        else memory.fill(at + line, 0, 2 * line);
      }
      continue;
    }
    const slope = load<f32>(g.decay + ((<usize>head) << 2));
    memory.fill(rising - 128, 0, 128);
    for (let n = 0; n < 64; n++) store<f32>(rising + ((<usize>n) << 2), decayOver(slope, n));
    for (let n = 0; n <= 32; n++) store<f32>(falling - ((<usize>n) << 2), decayOver(slope, n));
    memory.fill(falling + 4, 0, 124);
    const base = <usize>(slot * heads + head) * <usize>D * line;
    const chunks = (count + TILE - 1) / TILE;
    memory.fill(state, 0, <usize>panels * ownerPanel);
    const initial = isForward ? g.state + base : g.dState + base;
    const home = isForward ? turned : state;
    if (isForward) memory.fill(turned, 0, <usize>panels * ownerPanel);
    for (let r = 0; r < D; r++) packPanels(initial + <usize>r * line, D, home + ((<usize>r) << 5), ownerPanel);
    if (isForward) {
      // What is kept is Sᵀ: value channels are what dq's sum runs over.
      turn(turned, channels, state);
      for (let chunk = 0; chunk < chunks; chunk++) {
        const start = <usize>(chunk * TILE);
        const m = min(TILE, count - chunk * TILE);
        const k = q + start * 3 * tokenBytes + line;
        const v = k + line;
        packOwner(up + start * tokenBytes, tokenBytes, m, D, owner0);
        packPassing(v, 3 * tokenBytes, m, D, passing0);
        packMatrix(k, 3 * tokenBytes, m, D, matrix0);
        project(owner0, m, channels, state, panels, results0);
        scaleResults(results0, panels, m, rising + 4);
        for (let i = 0; i < m; i += 8) {
          const n = min(m, i + 8);
          dots(channels, passing0, owner0 + (<usize>(i >> 3)) * ownerPanel, 0, n, weights);
          decayLines(weights, rising + ((<usize>i) << 2), 0, n);
          addProducts(weights, matrix0, 0, n, panels, results0 + (<usize>(i >> 3)) * resultPanel);
        }
        for (let i = 0; i < m; i++) {
          copyResult(results0, panels, i, D, 1, dq + (start + <usize>i) * 3 * tokenBytes);
          packScaled(v + <usize>i * 3 * tokenBytes, D, load<f32>(rising + ((<usize>(m - 1 - i)) << 2)), scaled + ((<usize>(i * channels)) << 2));
        }
        grow(scaled, channels, m, matrix0, panels, state, load<f32>(rising + ((<usize>m) << 2)));
      }
      continue;
    }
    for (let chunk = chunks - 1; chunk >= 0; chunk--) {
      const start = <usize>(chunk * TILE);
      const m = min(TILE, count - chunk * TILE);
      const query = q + start * 3 * tokenBytes;
      const dOut = up + start * tokenBytes;
      turn(state, channels, turned);
      for (let i = 0; i < TILE; i++) store<f32>(backTo + ((<usize>i) << 2), i < m ? load<f32>(rising + ((<usize>(m - 1 - i)) << 2)) : 0);
      packOwner(query + line, 3 * tokenBytes, m, D, owner0); // k
      packOwner(query + 2 * line, 3 * tokenBytes, m, D, owner1); // v
      packPassing(query, 3 * tokenBytes, m, D, passing0);
      packPassing(dOut, tokenBytes, m, D, passing1);
      packMatrix(query, 3 * tokenBytes, m, D, matrix0);
      packMatrix(dOut, tokenBytes, m, D, matrix1);
      project(owner1, m, channels, turned, panels, results0); // dk
      project(owner0, m, channels, state, panels, results1); // dv
      scaleResults(results0, panels, m, backTo);
      scaleResults(results1, panels, m, backTo);
      for (let j = 0; j < m; j += 8) {
        const panel = (<usize>(j >> 3)) * ownerPanel;
        dots(channels, passing0, owner0 + panel, j, m, weights);
        dots(channels, passing1, owner1 + panel, j, m, pulled);
        decayLines(weights, falling + ((<usize>j) << 2), j, m);
        decayLines(pulled, falling + ((<usize>j) << 2), j, m);
        const results = (<usize>(j >> 3)) * resultPanel;
        addProducts(pulled, matrix0, j, m, panels, results0 + results);
        addProducts(weights, matrix1, j, m, panels, results1 + results);
      }
      for (let i = 0; i < m; i++) {
        const to = dq + (start + <usize>i) * 3 * tokenBytes;
        copyResult(results0, panels, i, D, 1, to + line);
        copyResult(results1, panels, i, D, 1, to + 2 * line);
        packScaled(query + <usize>i * 3 * tokenBytes, D, load<f32>(rising + ((<usize>(i + 1)) << 2)), scaled + ((<usize>(i * channels)) << 2));
      }
      grow(scaled, channels, m, matrix1, panels, state, load<f32>(rising + ((<usize>m) << 2)));
    }
    for (let r = 0; r < D; r++) {
      for (let c = 0; c < D; c += 4) {
        const at = state + (<usize>(c >> 3)) * ownerPanel + ((<usize>r) << 5) + ((<usize>(c & 4)) << 2);
        store4(g.dState + base + <usize>r * line + ((<usize>c) << 2), v128.load(at), D - c);
      }
    }
  }
}
