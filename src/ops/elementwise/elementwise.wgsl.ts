/** Elementwise operations on WebGPU: a thread makes one element, or four where the sizes allow. */
import { params, type WebGpuKernel } from "../../device/index.js";

export const elementwiseParams = params({
  /** Elements of the result; vectors of four where the variant has them. */
  elements: "u32",
  /** Of a row, in the same unit. */
  columns: "u32",
  rows: "u32",
  alpha: "f32",
  beta: "f32",
});

const activations = {
  silu: { value: "x * sigmoid(x)", gradient: "sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)))" },
  sigmoid: { value: "sigmoid(x)", gradient: "sigmoid(x) * (1.0 - sigmoid(x))" },
  // tanh written out: some implementations overflow in theirs.
  gelu: {
    value: "x * sigmoid(2.0 * inner(x))",
    gradient:
      "sigmoid(2.0 * inner(x)) + 2.0 * x * sigmoid(2.0 * inner(x)) * (1.0 - sigmoid(2.0 * inner(x))) * (0.7978845608 * (1.0 + 0.134145 * x * x))",
  },
} as const;

type Activation = keyof typeof activations;

export type ElementwiseName =
  | "mix"
  | "scale"
  | "multiply"
  | "addBias"
  | "sumRows"
  | "blend"
  | "blendFirst"
  | "blendSecond"
  | "blendTerms"
  | Activation
  | `${Activation}Gradient`
  | `${Activation}Gated`
  | `${Activation}GatedGradient`;

interface Body {
  readonly inputs: readonly string[];
  /** Statements that set `y[i]`. */
  readonly code: string;
  readonly activation?: Activation;
  /** A number a row follows the inputs. */
  readonly hasLogits?: boolean;
}

const bodies: Readonly<Record<ElementwiseName, Body>> = {
  mix: { inputs: ["a", "b"], code: "y[i] = p.alpha * a[i] + p.beta * b[i];" },
  scale: { inputs: ["a"], code: "y[i] = p.alpha * a[i];" },
  multiply: { inputs: ["a", "b"], code: "y[i] = a[i] * b[i];" },
  addBias: { inputs: ["a", "bias"], code: "y[i] = a[i] + bias[i % p.columns];" },
  sumRows: {
    inputs: ["a"],
    code: `
  let first = i / p.columns * 64u;
  var sum = Element(0.0);
  for (var t = first; t < min(first + 64u, p.rows); t++) { sum += a[t * p.columns + i % p.columns]; }
  y[i] = sum;`,
  },
  blend: { inputs: ["a", "b"], code: "y[i] = (1.0 - share(i)) * a[i] + share(i) * b[i];", hasLogits: true },
  blendFirst: { inputs: ["a"], code: "y[i] = (1.0 - share(i)) * a[i];", hasLogits: true },
  blendSecond: { inputs: ["a"], code: "y[i] = share(i) * a[i];", hasLogits: true },
  // Of the logits: b is the difference of the two that are blended.
  blendTerms: { inputs: ["a", "b"], code: "y[i] = a[i] * b[i] * (share(i) * (1.0 - share(i)));", hasLogits: true },
  ...byActivation("silu"),
  ...byActivation("sigmoid"),
  ...byActivation("gelu"),
};

function byActivation<A extends Activation>(activation: A) {
  const pair = "let at = i / p.columns * 2u * p.columns + i % p.columns;";
  const entries: readonly (readonly [ElementwiseName, Body])[] = [
    [activation, { inputs: ["a"], code: "y[i] = value(a[i]);", activation }],
    [`${activation}Gradient`, { inputs: ["a", "dy"], code: "y[i] = dy[i] * gradient(a[i]);", activation }],
    [`${activation}Gated`, { inputs: ["a"], code: `${pair} y[i] = value(a[at]) * a[at + p.columns];`, activation }],
    [
      `${activation}GatedGradient`,
      {
        inputs: ["a", "dy"],
        code: `${pair}
  y[at] = dy[i] * a[at + p.columns] * gradient(a[at]);
  y[at + p.columns] = dy[i] * value(a[at]);`,
        activation,
      },
    ],
  ];
  return Object.fromEntries(entries) as Record<A | `${A}Gradient` | `${A}Gated` | `${A}GatedGradient`, Body>; // all four
}

export const elementwiseNames = Object.keys(bodies) as ElementwiseName[]; // the keys of the table above

export function elementwiseKernel(name: ElementwiseName, vectors: boolean): WebGpuKernel {
  const { inputs, code, activation, hasLogits = false } = bodies[name];
  const bindings = inputs.map(
    (input, i) => `@group(0) @binding(${i + 1}) var<storage, read> ${input}: array<Element>;`,
  );
  if (hasLogits) bindings.push(`@group(0) @binding(${inputs.length + 1}) var<storage, read> logits: array<f32>;`);
  return {
    label: `elementwise ${name}${vectors ? " vectors" : ""}`,
    code: /* wgsl */ `
${elementwiseParams.wgsl}
alias Element = ${vectors ? "vec4f" : "f32"};
@group(0) @binding(0) var<uniform> p: Params;
${bindings.join("\n")}
@group(0) @binding(${bindings.length + 1}) var<storage, read_write> y: array<Element>;
${hasLogits ? "fn share(i: u32) -> f32 { return 1.0 / (1.0 + exp(-logits[i / p.columns])); }" : ""}
${
  activation
    ? `
fn sigmoid(x: Element) -> Element { return 1.0 / (1.0 + exp(-x)); }
fn inner(x: Element) -> Element { return 0.7978845608 * (x + 0.044715 * x * x * x); }
fn value(x: Element) -> Element { return ${activations[activation].value}; }
fn gradient(x: Element) -> Element { return ${activations[activation].gradient}; }`
    : ""
}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= p.elements) { return; }
  ${code}
}`,
  };
}

/** Inputs that a kernel binds. */
export function inputCount(name: ElementwiseName): number {
  return bodies[name].inputs.length;
}

export function elementwiseVariants(): WebGpuKernel[] {
  return elementwiseNames.flatMap((name) => [true, false].map((vectors) => elementwiseKernel(name, vectors)));
}
