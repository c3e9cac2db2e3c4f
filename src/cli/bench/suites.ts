/** The benchmark suites by name. A new suite is one file and one line here. */
import type { Device, WebGpuOptions } from "../../device/index.js";
import type { Model } from "../../generate/index.js";
import type { WeightKind } from "../../ops/index.js";
import { trainingMemory } from "../../train/training-memory.js";
import { type ModelOptions, openDevice } from "../model-options.js";
import { attentionSuite } from "./attention.js";
import type { SuiteOutput } from "./bench-result.js";
import { decodeSuite } from "./decode.js";
import { gemmSuite } from "./gemm.js";
import { gemvSuite } from "./gemv.js";
import { kvSuite } from "./kv.js";
import { lightningSuite } from "./lightning.js";
import { loadSuite } from "./load.js";
import { m1SliceSuite } from "./m1-slice.js";
import { openBenchModel } from "./open-model.js";
import { Peers } from "./peers.js";
import { prefillSuite } from "./prefill.js";
import { type TrainShape, trainSuite } from "./train.js";

/** Lists that are left out have a default of the suite's own. */
export interface BenchFlags extends ModelOptions {
  readonly batch?: readonly number[];
  readonly context?: readonly number[];
  readonly lengths?: readonly number[];
  readonly positions?: number;
  readonly sizes?: readonly number[];
  readonly shape?: readonly [rows: number, columns: number] | TrainShape;
  readonly tokens?: number;
  readonly sequence?: readonly number[];
  readonly recompute?: true;
  readonly weights?: readonly WeightKind[];
  readonly scale: number;
  readonly vocab?: number;
  readonly kinds?: readonly string[];
  readonly memoryGb?: number;
  readonly generateGib?: number;
  readonly runs: number;
  readonly against?: readonly string[];
  readonly peers?: string;
  readonly profile?: true;
  readonly json?: true;
}

export interface SuiteContext {
  readonly flags: BenchFlags;
  readonly signal: AbortSignal;
  /** What is being done now. */
  readonly say: (text: string) => void;
}

export interface DeviceInput extends SuiteContext {
  readonly device: Device;
  readonly peers: Peers;
}

export interface ModelInput extends DeviceInput {
  readonly model: Model;
}

export interface Outcome extends SuiteOutput {
  readonly adapter: string;
  /** What was measured, for people: a model's name. */
  readonly subject?: string;
}

export interface Suite {
  readonly about: string;
  run(name: string, context: SuiteContext): Promise<Outcome>;
}

async function withPeers(
  suite: string,
  context: SuiteContext,
  device: Device,
  run: (input: DeviceInput) => Promise<SuiteOutput>,
): Promise<Outcome> {
  const { flags, signal } = context;
  const names = flags.against ?? [];
  const threads = device.kind === "cpu" ? device.threads : 1;
  const folder = flags.peers ?? process.env["FULGUR_PEERS"];
  await using peers = names.length === 0 ? Peers.none() : await Peers.open(names, suite, { folder, threads, signal });
  return { ...(await run({ ...context, device, peers })), adapter: device.label };
}

/** A suite of kernels: no model is loaded. */
const onDevice = (
  about: string,
  run: (input: DeviceInput) => Promise<SuiteOutput>,
  webgpu: WebGpuOptions = {},
): Suite => ({
  about,
  async run(name, context) {
    await using device = await openDevice(context.flags, webgpu);
    return await withPeers(name, context, device, run); // the device closes behind it
  },
});

const onModel = (about: string, run: (input: ModelInput) => Promise<SuiteOutput>): Suite => ({
  about,
  async run(name, context) {
    await using opened = await openBenchModel(context.flags, context.signal);
    const { model, device } = opened;
    const outcome = await withPeers(name, context, device, (input) => run({ ...input, model }));
    return { ...outcome, subject: model.name };
  },
});

export const suites = {
  gemm: onDevice("matrix products of many tokens", gemmSuite),
  gemv: onDevice("matrix products of one token", gemvSuite),
  attention: onDevice("softmax attention over a cache", attentionSuite),
  lightning: onDevice("lightning attention", lightningSuite),
  decode: onModel("tokens a second of a model", decodeSuite),
  prefill: onModel("reading prompts with a model", prefillSuite),
  train: onDevice("a step's gradients of a hybrid model", trainSuite, trainingMemory),
  load: { about: "from nothing to the first token", run: (_, context) => loadSuite(context) },
  "m1-slice": onDevice("four layers as wide as MiniMax-M1's, at long contexts", m1SliceSuite),
  kv: onDevice("cache kinds at LLaMA-2-7B's shape: speed and memory", kvSuite),
} as const satisfies Record<string, Suite>;

export type SuiteName = keyof typeof suites;

export const suiteNames = Object.keys(suites) as SuiteName[]; // the keys of the object above
