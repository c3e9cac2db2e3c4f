/**
 * One recipe of a packed cache: rows to words, keys and values through the cache's own kernels, dequantised keys and values,
 * and attention over them.
 *
 * The reference's queries stand at the last position and see all tokens. Here they are tokens behind it, prepared at the last
 * position, whose own keys point away from them so far that they have no weight.
 */
import type { Device } from "../../../device/index.js";
import { fwhtReference } from "../../../ops/fwht/fwht.reference.js";
import {
  type PackedFormat,
  type PackedPages,
  packedAttention,
  packedEnd,
  packKv,
  prepareKv,
  type RopeTable,
  ringTokens,
  ropeFrequencies,
  ropeTable,
} from "../../../ops/index.js";
import { upload } from "../../../tensor/index.js";
import { type Check, checkRms, checkWords, relativeRms } from "../compare.js";
import { parseReference, type ReferenceTensors } from "../goldens-file.js";
import { makeStep, makeStore, packedRows, StoreContents } from "./kv-store.js";
import { rowFormat, type Settings, type StoreRecipe, settingsSchema, storesOf, unroundedFormat } from "./recipes.js";

const THETA = 10_000;
/** Keys and values: float32 next to float64; halves of the side store may differ by a step. */
const HAT_TOLERANCE = 2e-5;
/** goldens/kv/README: of the output's RMS. */
const OUTPUT_TOLERANCE = 2e-5;

/** A case: its tensors and what follows from its settings. */
interface Case {
  readonly name: string;
  readonly settings: Settings;
  readonly stores: readonly StoreRecipe[];
  readonly reference: ReferenceTensors;
  /** Position of the first token; the sequence before it does not exist. */
  readonly first: number;
}

export async function* checkRecipe(
  device: Device,
  name: string,
  recipe: string,
  rawSettings: unknown,
  reference: ReferenceTensors,
): AsyncGenerator<Check> {
  const settings = parseReference(settingsSchema, rawSettings, "index.json");
  const stores = storesOf(recipe, settings);
  if (stores.length === 0) {
    yield { name, passed: true, detail: `no cache of recipe ${recipe} yet`, skipped: true };
    return;
  }
  const c: Case = { name, settings, stores, reference, first: settings.pos0 ?? 0 };
  for (const store of stores) yield* checkRows(device, c, store);
  yield* await device.scope(() => checkSequence(device, c));
}

/** The quantisers' inputs as they are stored: codes and parameters bit by bit. */
async function* checkRows(device: Device, c: Case, { format, suffix }: StoreRecipe): AsyncGenerator<Check> {
  const tensor = async (side: string) => Float32Array.from(await c.reference.values(`${side}${suffix}_row`));
  const [keys, values] = [await tensor("k"), await tensor("v")];
  if (keys.length === 0) return;
  const found = await packedRows(device, rowFormat(format), keys, values);
  const slots = Array.from({ length: keys.length / (format.kvHeads * format.headDim) }, (_, i) => i);
  yield* compareBits(c, found, format, suffix, slots, slots, "rows");
}

/** Words, parameters and scales of token slots, in the order of the reference's rows. */
async function* compareBits(
  c: Case,
  found: StoreContents,
  format: PackedFormat,
  suffix: string,
  slots: readonly number[],
  rows: readonly number[],
  what: string,
): AsyncGenerator<Check> {
  const heads = Array.from({ length: format.kvHeads }, (_, head) => head);
  for (const [which, letter] of [
    ["keys", "k"],
    ["values", "v"],
  ] as const) {
    const side = format[which];
    const prefix = `${letter}${suffix}`;
    const each = (part: (slot: number, head: number) => Iterable<number>, of: readonly number[]) =>
      of.flatMap((slot) => heads.flatMap((head) => [...part(slot, head)]));
    const label = `${c.name} ${what}: ${prefix}`;
    yield checkWords(
      `${label} words`,
      each((slot, head) => found.words(which, slot, head), slots),
      await c.reference.values(`${prefix}_words`),
    );
    if (side.quantiser === "levels") {
      const scales = each((slot, head) => [found.scale(which, slot, head)], slots);
      yield checkWords(`${label} scales`, scales, await c.reference.values(`${prefix}_scale`));
      continue;
    }
    const isBlocked = side.layout === "channel";
    yield checkWords(
      `${label} parameters`,
      each(
        (slot, head) => found.parameters(which, slot, head),
        isBlocked ? slots.filter((_, i) => rows[i]! % side.group === 0) : slots,
      ),
      await c.reference.values(`${prefix}_params`),
    );
    // Rows that come divided have a norm of one, which is not the reference's.
    if (which === "keys" && side.norm && what !== "rows") {
      const norms = each((slot, head) => [found.scale(which, slot, head)], slots);
      yield checkWords(`${label} norms`, norms, await c.reference.values("k_norm"));
    }
  }
}

/** Keys and values from before rotary, through `prepareKv`, `packKv` and `packedAttention`. */
async function checkSequence(device: Device, c: Case): Promise<Check[]> {
  const { T, H, d, Hq } = c.settings;
  const { reference, first } = c;
  const f32 = async (name: string) => Float32Array.from(await reference.values(name));
  const rope = ropeTable(device, { rotaryDim: d, theta: THETA, maxPositions: first + T + 1 });
  const order = reference.has("perm") ? Int32Array.from(await reference.values("perm")) : undefined;
  const mean = reference.has("mean_k") ? await f32("mean_k") : undefined;
  const extras = { ...(order ? { order } : {}), ...(mean ? { mean } : {}) };
  const kept = await keptTokens(c);
  const stores = await Promise.all(
    c.stores.map(async ({ format, suffix }) => {
      const skipped = c.stores.length > 1 ? await otherTokens(c, suffix, packedEnd(format, T, 0)) : [];
      return makeStore(device, { format, tokens: first + T + 1, skipped, marked: kept, ...extras });
    }),
  );
  const plain = makeStore(device, { format: unroundedFormat(c.stores[0]!.format), tokens: 1, ...extras });

  const columns = Hq + 2 * H;
  const [k, v] = [await f32("k"), await f32("v")];
  const qkv = upload(
    device,
    withParts(T, columns, d, [
      [k, Hq, H],
      [v, Hq + H, H],
    ]),
    [T, columns * d],
  );
  const fill = makeStep(device, [{ past: first, count: T }], false);
  const prepared = prepareKv(qkv, plain, { heads: Hq, rope }, fill);
  const [main, ...further] = stores as [PackedPages, ...PackedPages[]];
  packKv(qkv, prepared, main, { heads: Hq, rope }, fill);
  for (const store of further) {
    packKv(qkv, prepared, { ...store, side: main.side }, { heads: Hq, rope, part: "pages" }, fill);
  }
  const second = further.map((store) => ({ ...store, side: undefined }));

  const contents = await Promise.all(stores.map((store) => StoreContents.read(store)));
  const checks: Check[] = [];
  for (const [i, { format, suffix }] of c.stores.entries()) {
    const rows = await packedTokens(c, format, suffix);
    const slots = rows.map((j) => (format.keys.layout === "channel" ? j - format.sinks : first + j));
    const indices = rows.map((_, index) => index);
    for await (const check of compareBits(c, contents[i]!, format, suffix, slots, indices, "cache")) checks.push(check);
  }
  checks.push(...(await compareHats(c, contents, kept, mean)));
  checks.push(await checkAttention(device, c, { stores: [main, ...second], plain, rope }));
  return checks;
}

/** Tokens, from the case's first, whose packed rows the reference has. */
async function packedTokens(c: Case, format: PackedFormat, suffix: string): Promise<number[]> {
  if (suffix !== "") return [...(await c.reference.values(`index${suffix}`))];
  const count = c.reference.shape("k_row")[0] ?? 0;
  const skipped = format.keys.layout === "channel" || format.meanPairs > 0 ? format.sinks : 0;
  return Array.from({ length: count }, (_, i) => i + skipped);
}

/** Marked tokens, by position. */
async function keptTokens(c: Case): Promise<number[]> {
  if (c.stores[0]!.format.marked === 0) return [];
  const name = c.reference.has("pivots") ? "pivots" : "sinks";
  return Array.from(await c.reference.values(name), (j) => j + c.first);
}

/** Packed tokens that belong to the other width. */
async function otherTokens(c: Case, suffix: string, end: number): Promise<number[]> {
  const own = new Set(await c.reference.values(`index${suffix}`));
  return Array.from({ length: end }, (_, j) => j).filter((j) => !own.has(j));
}

/** [T, columns, d] with some columns filled from [T, heads, d]. */
function withParts(
  tokens: number,
  columns: number,
  d: number,
  parts: readonly (readonly [Float32Array, number, number])[],
): Float32Array {
  const all = new Float32Array(tokens * columns * d);
  for (const [data, column, heads] of parts) {
    for (let t = 0; t < tokens; t++) {
      all.set(data.subarray(t * heads * d, (t + 1) * heads * d), (t * columns + column) * d);
    }
  }
  return all;
}

/** What attention sees of each token, put together from pages and side store in float64. */
async function compareHats(
  c: Case,
  contents: readonly StoreContents[],
  kept: readonly number[],
  mean: Float32Array | undefined,
): Promise<Check[]> {
  const { T, H } = c.settings;
  const { format } = c.stores[0]!;
  const heads = Array.from({ length: H }, (_, head) => head);
  const ring = ringTokens(format);
  const end = packedEnd(format, c.first + T, 0);
  const widths = await Promise.all(
    c.stores.map(async ({ format: f, suffix }) => new Set(await packedTokens(c, f, suffix))),
  );
  const keys: number[] = [];
  const values: number[] = [];
  for (let i = 0; i < T; i++) {
    const j = c.first + i;
    const mark = kept.indexOf(j);
    const entry =
      j < format.sinks ? j : mark >= 0 ? format.sinks + ring + mark : j >= end ? format.sinks + (j % ring) : undefined;
    if (entry !== undefined) {
      for (const head of heads) {
        keys.push(...contents[0]!.entry("keys", entry, head));
        values.push(...contents[0]!.entry("values", entry, head));
      }
      continue;
    }
    const found =
      contents[
        Math.max(
          0,
          widths.findIndex((tokens) => tokens.has(i)),
        )
      ]!;
    const slot = format.keys.layout === "channel" ? j - format.sinks : j;
    const rows = heads.map((head) => found.row("keys", slot, head));
    for (const row of await unrotated(c, format, rows, j, mean)) keys.push(...row);
    for (const head of heads) values.push(...found.row("values", slot, head));
  }
  return [
    checkRms(`${c.name} keys`, relativeRms(keys, await c.reference.values("k_hat")), HAT_TOLERANCE),
    checkRms(`${c.name} values`, relativeRms(values, await c.reference.values("v_hat")), HAT_TOLERANCE),
  ];
}

/** Rows of all heads as attention sees them: rotary and its transform undone and applied, the mean put back. */
async function unrotated(
  c: Case,
  format: PackedFormat,
  rows: readonly Float64Array[],
  position: number,
  mean: Float32Array | undefined,
): Promise<readonly Float64Array[]> {
  const { headDim, keyRotation } = format;
  const { inverse } = ropeFrequencies({ rotaryDim: headDim, theta: THETA });
  if (mean) {
    return rows.map((row, head) => {
      const mu = rotated(Float64Array.from(mean.subarray(head * headDim, (head + 1) * headDim)), position, inverse);
      const centre = fwhtReference(mu, keyRotation);
      return row.map((x, i) => x + centre[i]!);
    });
  }
  if (!format.ropeAtRead) return rows;
  const order = await c.reference.values("perm");
  const all = new Float64Array(rows.length * headDim);
  rows.forEach((row, head) => {
    row.forEach((x, i) => {
      all[order[head * headDim + i]!] = x;
    });
  });
  const keys = fwhtReference(all, keyRotation);
  return rows.map((_, head) => rotated(keys.slice(head * headDim, (head + 1) * headDim), position, inverse));
}

function rotated(x: Float64Array, position: number, inverse: Float64Array): Float64Array {
  const half = inverse.length;
  inverse.forEach((frequency, i) => {
    const [cosine, sine] = [Math.cos(position * frequency), Math.sin(position * frequency)];
    const [a, b] = [x[i]!, x[i + half]!];
    x[i] = a * cosine - b * sine;
    x[i + half] = b * cosine + a * sine;
  });
  return x;
}

async function checkAttention(
  device: Device,
  c: Case,
  { stores, plain, rope }: { stores: readonly PackedPages[]; plain: PackedPages; rope: RopeTable },
): Promise<Check> {
  const { T, H, d, Hq } = c.settings;
  const columns = Hq + 2 * H;
  const q = Float32Array.from(await c.reference.values("q"));
  const count = q.length / (Hq * d);
  const last = c.first + T - 1;
  const rows = Array.from({ length: count }, () => ({ past: last + 1, count: 1 }));
  const raw = upload(device, withParts(count, columns, d, [[q, 0, Hq]]), [count, columns * d]);
  const at = makeStep(
    device,
    rows.map((row) => ({ ...row, position: last })),
    true,
  );
  const prepared = prepareKv(raw, plain, { heads: Hq, rope }, at);
  const qkv = upload(device, withRepellingKeys(await raw.readFloat32(), count, Hq, H, d), [count, columns * d]);
  const out = packedAttention(
    qkv,
    prepared,
    stores,
    { heads: Hq, scale: d ** -0.5, rope, ...(c.first > 0 ? { window: T + 1 } : {}) },
    makeStep(device, rows, true),
  );
  const error = relativeRms(await out.readFloat32(), await c.reference.values("out_quant"));
  return checkRms(`${c.name} attention`, error, OUTPUT_TOLERANCE);
}

/** Own keys against the sum of their queries' directions: scores of some −1,000. */
function withRepellingKeys(qkv: Float32Array, count: number, heads: number, kvHeads: number, d: number): Float32Array {
  const columns = heads + 2 * kvHeads;
  for (let n = 0; n < count; n++) {
    for (let h = 0; h < heads; h++) {
      const query = qkv.subarray((n * columns + h) * d, (n * columns + h + 1) * d);
      const kvHead = heads + Math.floor((h * kvHeads) / heads);
      const key = qkv.subarray((n * columns + kvHead) * d, (n * columns + kvHead + 1) * d);
      const size = Math.hypot(...query);
      query.forEach((x, i) => {
        key[i]! -= (2000 * x) / size;
      });
    }
  }
  return qkv;
}
