/**
 * Operations on elements, each by itself: sums, products, activations, and their gradients.
 *
 *   add       y = a + b
 *   mix       y = alpha · a + beta · b                                   (a residual branch)
 *   multiply  y = a · b
 *   activate  y = silu(x), sigmoid(x), gelu(x)
 *   gated     y[t, i] = activation(x[t, i]) · x[t, N + i],  x: [T, 2N]   (a gated MLP's middle)
 *   blend     y[t, n] = (1 − c) · a[t, n] + c · b[t, n],  c = sigmoid(logit[t])
 *   addBias   y[t, n] = x[t, n] + bias[n]
 *
 * Axes      T rows, N columns; `add`, `mix`, `multiply`, `activate` take any shape.
 * Precision float32. gelu is the tanh form (Hendrycks & Gimpel 2016, arXiv 1606.08415).
 */
import { empty, record, ShapeError, sameShape, type Tensor } from "../../tensor/index.js";
import { transpose } from "../transpose/transpose.js";
import { launchElementwise } from "./elementwise.launch.js";

export type ActivationName = "silu" | "sigmoid" | "gelu";

/** a + b. @throws {ShapeError} */
export function add(a: Tensor, b: Tensor): Tensor {
  return mix(a, b, 1, 1);
}

/** alpha · a + beta · b. @throws {ShapeError} */
export function mix(a: Tensor, b: Tensor, alpha: number, beta: number): Tensor {
  same("mix", a, b);
  const y = empty(a.device, a.shape);
  launchElementwise("mix", [a, b], y, { alpha, beta });
  record("mix", [a, b], [y], () => ([dy], needs) => {
    if (!dy) return [];
    return [needs[0] ? scaled(dy, alpha) : undefined, needs[1] ? scaled(dy, beta) : undefined];
  });
  return y;
}

/** alpha · x. */
export function scale(x: Tensor, alpha: number): Tensor {
  const y = empty(x.device, x.shape);
  launchElementwise("scale", [x], y, { alpha });
  record("scale", [x], [y], () => ([dy]) => [dy && scaled(dy, alpha)]);
  return y;
}

/** A gradient's multiple; itself, by another handle, where the factor is one. */
function scaled(x: Tensor, alpha: number): Tensor {
  return alpha === 1 ? x.retain() : scale(x, alpha).handOver();
}

/** a · b. @throws {ShapeError} */
export function multiply(a: Tensor, b: Tensor): Tensor {
  same("multiply", a, b);
  const y = empty(a.device, a.shape);
  launchElementwise("multiply", [a, b], y, {});
  record("multiply", [a, b], [y], (keep) => {
    const [a_, b_] = keep(a, b);
    return ([dy], needs) =>
      dy
        ? [needs[0] ? multiply(dy, b_).handOver() : undefined, needs[1] ? multiply(dy, a_).handOver() : undefined]
        : [];
  });
  return y;
}

/** The activation of every element. */
export function activate(x: Tensor, activation: ActivationName): Tensor {
  const y = empty(x.device, x.shape);
  launchElementwise(activation, [x], y, {});
  record("activate", [x], [y], (keep) => {
    const [x_] = keep(x);
    return ([dy]) => {
      if (!dy) return [];
      const dx = empty(dy.device, dy.shape);
      launchElementwise(`${activation}Gradient`, [x_, dy], dx, {});
      return [dx.handOver()];
    };
  });
  return y;
}

/** activation(left half of a row) · right half. @param x f32 [T, 2N]. @returns f32 [T, N]. @throws {ShapeError} */
export function gated(x: Tensor, activation: ActivationName): Tensor {
  const [T, columns] = x.shape;
  if (T === undefined || columns === undefined || x.shape.length !== 2 || columns % 2 !== 0) {
    throw new ShapeError("gated", "x", "[T, 2N]", x.shape);
  }
  const y = empty(x.device, [T, columns / 2]);
  launchElementwise(`${activation}Gated`, [x], y, { columns: columns / 2 });
  record("gated", [x], [y], (keep) => {
    const [x_] = keep(x);
    return ([dy]) => {
      if (!dy) return [];
      const dx = empty(dy.device, x_.shape);
      launchElementwise(`${activation}GatedGradient`, [x_, dy], dx, { columns: columns / 2 });
      return [dx.handOver()];
    };
  });
  return y;
}

/** x + bias on every row. @param x f32 [T, N]. @param bias f32 [N]. @throws {ShapeError} */
export function addBias(x: Tensor, bias: Tensor): Tensor {
  const [T, N] = x.shape;
  if (T === undefined || N === undefined || x.shape.length !== 2)
    throw new ShapeError("addBias", "x", "[T, N]", x.shape);
  if (!sameShape(bias.shape, [N])) throw new ShapeError("addBias", "bias", `[N=${N}] (as x)`, bias.shape);
  const y = empty(x.device, [T, N]);
  launchElementwise("addBias", [x, bias], y, { columns: N });
  record(
    "addBias",
    [x, bias],
    [y],
    () =>
      ([dy], needs) =>
        dy ? [dy.retain(), needs[1] ? sumRows(dy).handOver() : undefined] : [],
  );
  return y;
}

/**
 * a and b, mixed by each row's sigmoid.
 *
 * @param a f32 [T, N]. @param b f32 [T, N]. @param logit f32 [T, 1]. @throws {ShapeError}
 */
export function blend(a: Tensor, b: Tensor, logit: Tensor): Tensor {
  same("blend", a, b);
  const [T, N] = a.shape;
  if (T === undefined || N === undefined || a.shape.length !== 2) throw new ShapeError("blend", "a", "[T, N]", a.shape);
  if (!sameShape(logit.shape, [T, 1])) throw new ShapeError("blend", "logit", `[T=${T}, 1]`, logit.shape);
  const y = empty(a.device, [T, N]);
  const sizes = { columns: N };
  launchElementwise("blend", [a, b, logit], y, sizes);
  record("blend", [a, b, logit], [y], (keep) => {
    const [a_, b_, logit_] = keep(a, b, logit);
    return ([dy], needs) => {
      if (!dy) return [];
      const { device } = dy;
      const made = (name: "blendFirst" | "blendSecond") => {
        const d = empty(device, [T, N]);
        launchElementwise(name, [dy, dy, logit_], d, sizes);
        return d.handOver();
      };
      let dLogit: Tensor | undefined;
      if (needs[2]) {
        using terms = empty(device, [T, N]);
        using difference = mix(b_, a_, 1, -1);
        launchElementwise("blendTerms", [dy, difference, logit_], terms, sizes);
        using columns = transpose(terms);
        using sums = sumRows(columns);
        using column = sums.reshape([T, 1]);
        dLogit = column.retain();
      }
      return [needs[0] ? made("blendFirst") : undefined, needs[1] ? made("blendSecond") : undefined, dLogit];
    };
  });
  return y;
}

/** Σ over t of x[t, n]: [N]. Partial sums of 64 rows first, so that long columns lose no digits. */
export function sumRows(x: Tensor): Tensor {
  const [T, N] = x.shape;
  if (T === undefined || N === undefined || x.shape.length !== 2)
    throw new ShapeError("sumRows", "x", "[T, N]", x.shape);
  const parts = Math.ceil(T / 64);
  const y = empty(x.device, parts === 1 ? [N] : [parts, N]);
  launchElementwise("sumRows", [x], y, { columns: N, rows: T });
  if (parts === 1) return y;
  const sum = sumRows(y);
  y.dispose();
  return sum;
}

function same(where: string, a: Tensor, b: Tensor): void {
  if (!sameShape(a.shape, b.shape)) throw new ShapeError(where, "b", `[${a.shape.join(", ")}] (as a)`, b.shape);
  if (a.dtype !== "f32" || b.dtype !== "f32")
    throw new TypeError(`${where}: expected f32 tensors, got ${a.dtype}, ${b.dtype}`);
  if (a.device !== b.device) throw new TypeError(`${where}: the tensors live on different devices`);
}
