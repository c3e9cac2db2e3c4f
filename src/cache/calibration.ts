/**
 * What a calibration file knows about a model's keys and values, and the file itself: `kv-calibration.safetensors` beside the weights.
 *
 *   layers.N.perm_k      u32 [G·D]   order of the rotated channels for RotateKV's default settings
 *   layers.N.mean_all_k  f64 [G, D]  mean key before rotary, all tokens: from it the order for any settings
 *   layers.N.mean_k      f32 [G, D]  the same without the first tokens of each segment
 *   layers.N.mean_v      f32 [G, D]  mean value, without the first tokens
 *   key_bits, value_bits u8 [layers] widths of `2bit`'s codes that lose least on the text, where they were sought
 *   policy               u8 [layers] AKVQ-VL: 0 pivot-salient, 1 text-salient; where it was measured
 *   __metadata__         kind, version, fingerprint of the model, tokens, corpus (SHA-256)
 *
 * N counts softmax layers from 0. Files of others that leave out a part are read too: what is missing is not used.
 *
 * Axes  G key/value heads, D head size.
 */
import { type ByteSource, openSafetensors, type TensorToWrite, toFloat64 } from "../formats/index.js";
import type { CodeBits } from "../ops/index.js";
import { channelOrder, keyRotationWidth } from "./kinds/rotatekv.js";
import { isCodeBits } from "./packed-options.js";

export const CALIBRATION_FILE = "kv-calibration.safetensors";
export const CALIBRATION_KIND = "fulgur-kv-calibration";

export interface LayerCalibration {
  /** [G·D] float64: mean key before rotary over all tokens. */
  readonly meanAllKeys: Float64Array | undefined;
  /** [G·D] float32: without the first tokens. */
  readonly meanKeys: Float32Array | undefined;
  /** [G·D] float32, likewise. */
  readonly meanValues: Float32Array | undefined;
  readonly policy: "text" | "pivot" | undefined;
  readonly widths: LayerWidths | undefined;
}

/** Bits of a layer's codes. */
export interface LayerWidths {
  readonly keyBits: CodeBits;
  readonly valueBits: CodeBits;
}

export interface KvCalibration {
  /** Of the model that it was made for; see `modelFingerprint`. */
  readonly fingerprint: string;
  readonly tokens: number;
  /** One per softmax layer. */
  readonly layers: readonly LayerCalibration[];
}

export interface CalibrationShape {
  readonly softmaxLayers: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** A calibration file is damaged, or was made for another model. */
export class CalibrationError extends Error {
  override readonly name = "CalibrationError";
}

/**
 * Reads a calibration file and closes it.
 * @param fingerprint of the model that is to use it.
 * @throws {CalibrationError} {CheckpointError}
 */
export async function readCalibration(
  source: ByteSource,
  fingerprint: string,
  { softmaxLayers, kvHeads, headDim }: CalibrationShape,
): Promise<KvCalibration> {
  const fail = (text: string): never => {
    throw new CalibrationError(`${source.name}: ${text}`);
  };
  await using file = await openSafetensors(source);
  const { metadata, entries } = file;
  if (metadata["kind"] !== CALIBRATION_KIND) fail(`expected a calibration file, got kind "${metadata["kind"] ?? ""}"`);
  if (metadata["version"] !== "1") fail(`expected version 1, got "${metadata["version"] ?? ""}"`);
  if (metadata["fingerprint"] !== fingerprint) {
    fail("it was made for another model; make it anew with fulgur calibrate, or take it away");
  }
  const channels = kvHeads * headDim;
  const read = async (name: string): Promise<Float64Array | undefined> => {
    const entry = entries.get(name);
    if (!entry) return undefined;
    const values = toFloat64(entry.dtype, await file.read(name));
    if (values.length !== channels || !values.every(Number.isFinite)) {
      fail(`${name} expected ${channels} finite numbers, got shape [${entry.shape.join(", ")}]`);
    }
    return values;
  };
  const entry = entries.get("policy");
  const policies = entry && toFloat64(entry.dtype, await file.read("policy"));
  const widths = async (name: string): Promise<readonly CodeBits[] | undefined> => {
    const widthEntry = entries.get(name);
    if (!widthEntry) return undefined;
    const bits = [...toFloat64(widthEntry.dtype, await file.read(name))].filter(isCodeBits);
    if (bits.length !== softmaxLayers) fail(`${name} expected ${softmaxLayers} numbers out of 2, 3, 4 and 8`);
    return bits;
  };
  const keyBits = await widths("key_bits");
  const valueBits = await widths("value_bits");
  const layers: LayerCalibration[] = [];
  for (let layer = 0; layer < softmaxLayers; layer++) {
    const mean = await read(`layers.${layer}.mean_k`);
    const meanValue = await read(`layers.${layer}.mean_v`);
    const [ofKeys, ofValues] = [keyBits?.[layer], valueBits?.[layer]];
    const policy = policies?.[layer];
    layers.push({
      meanAllKeys: await read(`layers.${layer}.mean_all_k`),
      meanKeys: mean && Float32Array.from(mean),
      meanValues: meanValue && Float32Array.from(meanValue),
      widths: ofKeys && ofValues ? { keyBits: ofKeys, valueBits: ofValues } : undefined,
      policy: policy === undefined ? undefined : policy === 1 ? "text" : "pivot",
    });
  }
  return { fingerprint, tokens: Number(metadata["tokens"] ?? 0), layers };
}

export interface CalibrationToWrite extends CalibrationShape {
  readonly fingerprint: string;
  readonly tokens: number;
  /** SHA-256 of the text. */
  readonly corpus: string;
  /** Of each layer, float64 [G·D]. */
  readonly layers: readonly {
    readonly meanAllKeys: Float64Array;
    readonly meanKeys: Float64Array;
    readonly meanValues: Float64Array;
  }[];
  /** Of each layer, where they were sought. */
  readonly widths?: readonly LayerWidths[] | undefined;
}

/** The file's tensors and metadata, for `writeSafetensors`. */
export function calibrationTensors(c: CalibrationToWrite): {
  readonly tensors: readonly TensorToWrite[];
  readonly metadata: Readonly<Record<string, string>>;
} {
  const { kvHeads, headDim } = c;
  const bytes = (data: ArrayBufferView) => () => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const shape = [kvHeads, headDim];
  const wide = c.layers.map(
    ({ meanAllKeys }, l): TensorToWrite => ({
      name: `layers.${l}.mean_all_k`,
      dtype: "F64",
      shape,
      bytes: bytes(meanAllKeys),
    }),
  );
  const narrow = c.layers.flatMap(({ meanAllKeys, meanKeys, meanValues }, l): TensorToWrite[] => {
    const order = channelOrder(meanAllKeys, keyRotationWidth(kvHeads, headDim), "global");
    return [
      { name: `layers.${l}.mean_k`, dtype: "F32", shape, bytes: bytes(Float32Array.from(meanKeys)) },
      { name: `layers.${l}.mean_v`, dtype: "F32", shape, bytes: bytes(Float32Array.from(meanValues)) },
      { name: `layers.${l}.perm_k`, dtype: "U32", shape: [kvHeads * headDim], bytes: bytes(order) },
    ];
  });
  const { fingerprint, tokens, corpus } = c;
  const metadata = { kind: CALIBRATION_KIND, version: "1", fingerprint, tokens: String(tokens), corpus };
  const bits = (name: string, of: (widths: LayerWidths) => number): TensorToWrite[] => {
    const list = c.widths?.map(of);
    return list ? [{ name, dtype: "U8", shape: [list.length], bytes: bytes(Uint8Array.from(list)) }] : [];
  };
  const widths = [...bits("key_bits", (w) => w.keyBits), ...bits("value_bits", (w) => w.valueBits)];
  return { tensors: [...wide, ...narrow, ...widths], metadata };
}
