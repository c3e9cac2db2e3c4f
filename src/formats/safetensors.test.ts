import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ByteSource, memorySource } from "./byte-source.js";
import { CheckpointError } from "./checkpoint-error.js";
import { readSafetensorsHeader } from "./safetensors.js";
import { safetensorsDtypeBytes, safetensorsDtypes } from "./safetensors-dtype.js";
import { memorySink, type TensorToWrite, writeSafetensors } from "./safetensors-writer.js";

/** A file of a header text and so many bytes of data. */
function fileOf(header: string | Uint8Array, dataBytes = 0, claimedLength?: bigint): Uint8Array {
  const text = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const file = new Uint8Array(8 + text.byteLength + dataBytes);
  new DataView(file.buffer).setBigUint64(0, claimedLength ?? BigInt(text.byteLength), true);
  file.set(text, 8);
  return file;
}

const entry = (dtype: unknown, shape: unknown, offsets: unknown): string =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });

async function complaint(bytes: Uint8Array): Promise<CheckpointError> {
  const error: unknown = await readSafetensorsHeader(memorySource("m", bytes)).then(
    () => new Error("no error"),
    (thrown: unknown) => thrown,
  );
  if (error instanceof CheckpointError) return error;
  throw error;
}

const header = (...entries: readonly string[]): string => `{${entries.join(",")}}`;
const f32 = (name: string, begin: number, end: number): string =>
  `"${name}":${entry("F32", [(end - begin) / 4], [begin, end])}`;

const malformed: readonly { readonly name: string; readonly bytes: Uint8Array }[] = [
  { name: "empty file", bytes: new Uint8Array() },
  { name: "seven bytes", bytes: new Uint8Array(7) },
  { name: "header longer than the file", bytes: fileOf("{}", 0, 3n) },
  { name: "header above 100 MB", bytes: fileOf("{}", 0, 100_000_001n) },
  { name: "header length 2⁶³", bytes: fileOf("{}", 0, 2n ** 63n) },
  { name: "header length 2⁶⁴ − 1", bytes: fileOf("{}", 0, 2n ** 64n - 1n) },
  { name: "header length 0", bytes: fileOf("") },
  { name: "header not JSON", bytes: fileOf('{"a":') },
  { name: "header not UTF-8", bytes: fileOf(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)) },
  { name: "header an array", bytes: fileOf("[]") },
  { name: "header null", bytes: fileOf("null") },
  { name: "header after a space", bytes: fileOf(" {}") },
  { name: "header after a byte order mark", bytes: fileOf("\ufeff{}") },
  { name: "bytes after the header's object", bytes: fileOf("{}\0") },
  { name: "entry not an object", bytes: fileOf('{"a":3}') },
  { name: "dtype missing", bytes: fileOf('{"a":{"shape":[],"data_offsets":[0,4]}}', 4) },
  { name: "dtype unknown", bytes: fileOf(header(`"a":${entry("F4", [2], [0, 1])}`), 1) },
  { name: "dtype from Object's prototype", bytes: fileOf(header(`"a":${entry("toString", [2], [0, 1])}`), 1) },
  { name: "dtype a number", bytes: fileOf(header(`"a":${entry(32, [2], [0, 8])}`), 8) },
  { name: "shape missing", bytes: fileOf('{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4) },
  { name: "shape a number", bytes: fileOf(header(`"a":${entry("F32", 1, [0, 4])}`), 4) },
  { name: "shape negative", bytes: fileOf(header(`"a":${entry("F32", [-1], [0, 4])}`), 4) },
  { name: "shape minus zero", bytes: fileOf('{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}') },
  { name: "shape fractional", bytes: fileOf(header(`"a":${entry("F32", [1.5], [0, 4])}`), 4) },
  { name: "shape text", bytes: fileOf(header(`"a":${entry("F32", ["1"], [0, 4])}`), 4) },
  {
    name: "shape beyond 2⁵³",
    bytes: fileOf('{"a":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,1]}}', 1),
  },
  { name: "shape infinite", bytes: fileOf('{"a":{"dtype":"U8","shape":[1e999],"data_offsets":[0,1]}}', 1) },
  { name: "product overflows", bytes: fileOf(header(`"a":${entry("F32", [2 ** 30, 2 ** 30], [0, 4])}`), 4) },
  { name: "offsets missing", bytes: fileOf('{"a":{"dtype":"F32","shape":[1]}}', 4) },
  { name: "offsets one", bytes: fileOf(header(`"a":${entry("F32", [1], [4])}`), 4) },
  { name: "offsets three", bytes: fileOf(header(`"a":${entry("F32", [1], [0, 4, 8])}`), 4) },
  { name: "offsets fractional", bytes: fileOf(header(`"a":${entry("U8", [1], [0.5, 1.5])}`), 4) },
  { name: "offsets negative", bytes: fileOf(header(`"a":${entry("F32", [1], [-4, 0])}`), 4) },
  { name: "offsets backwards", bytes: fileOf(header(`"a":${entry("F32", [1], [4, 0])}`), 4) },
  { name: "offsets beyond the file", bytes: fileOf(header(f32("a", 0, 4), f32("b", 4, 12)), 8) },
  { name: "offsets not the shape's size", bytes: fileOf(header(`"a":${entry("F32", [2, 3], [0, 4])}`), 4) },
  { name: "offsets overlap", bytes: fileOf(header(f32("a", 0, 8), f32("b", 4, 12)), 12) },
  { name: "two tensors in one place", bytes: fileOf(header(f32("a", 0, 8), f32("b", 0, 8)), 8) },
  { name: "hole between tensors", bytes: fileOf(header(f32("a", 0, 4), f32("b", 8, 12)), 12) },
  { name: "hole before the first", bytes: fileOf(header(f32("a", 4, 8)), 8) },
  { name: "bytes after the last", bytes: fileOf(header(f32("a", 0, 4)), 5) },
  { name: "data without tensors", bytes: fileOf("{}", 5) },
  { name: "empty tensor inside another", bytes: fileOf(header(f32("a", 0, 8), f32("b", 4, 4)), 8) },
  { name: "name twice", bytes: fileOf(header(f32("a", 0, 4), f32("a", 4, 8)), 8) },
  { name: "name twice, escaped", bytes: fileOf(header(f32("a", 0, 4), f32("\\u0061", 4, 8)), 8) },
  { name: "field twice", bytes: fileOf('{"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}', 4) },
  { name: "metadata a list", bytes: fileOf('{"__metadata__":[]}') },
  { name: "metadata null", bytes: fileOf('{"__metadata__":null}') },
  { name: "metadata with a number", bytes: fileOf('{"__metadata__":{"step":3}}') },
  { name: "very long name", bytes: fileOf(JSON.stringify({ ["n".repeat(5000)]: 3 })) },
];

describe("malformed files", () => {
  test("each gives one error that says what, where, expected, got", async () => {
    const lines: string[] = [];
    for (const { name, bytes } of malformed) lines.push(`${name} | ${(await complaint(bytes)).message}`);
    expect(lines.join("\n")).toMatchInlineSnapshot(`
      "empty file | m: header length: expected 8 bytes, got a file of 0
      seven bytes | m: header length: expected 8 bytes, got a file of 7
      header longer than the file | m: header length: expected at most 2 (what follows it in the file), got 3 (truncated file?)
      header above 100 MB | m: header length: expected at most 100000000 bytes, got 100000001 (not a safetensors file?)
      header length 2⁶³ | m: header length: expected less than 2⁶³, got 9223372036854775808
      header length 2⁶⁴ − 1 | m: header length: expected less than 2⁶³, got 18446744073709551615
      header length 0 | m: header: expected a value at line 1, column 1, got the end of the text
      header not JSON | m: header: expected a value at line 1, column 6, got the end of the text
      header not UTF-8 | m: header: expected UTF-8, got other bytes
      header an array | m: header: expected an object, got []
      header null | m: header: expected an object, got null
      header after a space | m: header: expected to begin with "{", got " "
      header after a byte order mark | m: header: expected a value at line 1, column 1, got "\\ufeff"
      bytes after the header's object | m: header: expected the end of the text at line 1, column 3, got "\\u0000"
      entry not an object | m: tensor "a": header: expected an object, got 3
      dtype missing | m: tensor "a": dtype: expected one of F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8, BOOL, F8_E4M3, F8_E5M2, got nothing
      dtype unknown | m: tensor "a": dtype: expected one of F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8, BOOL, F8_E4M3, F8_E5M2, got "F4"
      dtype from Object's prototype | m: tensor "a": dtype: expected one of F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8, BOOL, F8_E4M3, F8_E5M2, got "toString"
      dtype a number | m: tensor "a": dtype: expected one of F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8, BOOL, F8_E4M3, F8_E5M2, got 32
      shape missing | m: tensor "a": shape: expected a list of whole numbers from 0 to 2⁵³ − 1, got nothing
      shape a number | m: tensor "a": shape: expected a list of whole numbers from 0 to 2⁵³ − 1, got 1
      shape negative | m: tensor "a": shape: expected a list of whole numbers from 0 to 2⁵³ − 1, got [-1]
      shape minus zero | m: tensor "a": shape: expected a list of whole numbers from 0 to 2⁵³ − 1, got [-0]
      shape fractional | m: tensor "a": shape: expected a list of whole numbers from 0 to 2⁵³ − 1, got [1.5]
      shape text | m: tensor "a": shape: expected a list of whole numbers from 0 to 2⁵³ − 1, got ["1"]
      shape beyond 2⁵³ | m: tensor "a": shape: expected a list of whole numbers from 0 to 2⁵³ − 1, got [9007199254740992]
      shape infinite | m: tensor "a": shape: expected a list of whole numbers from 0 to 2⁵³ − 1, got [Infinity]
      product overflows | m: tensor "a": shape: expected at most 2⁵³ − 1 bytes, got [1073741824, 1073741824] of F32
      offsets missing | m: tensor "a": data_offsets: expected [begin, end], whole numbers, got nothing
      offsets one | m: tensor "a": data_offsets: expected [begin, end], got [4]
      offsets three | m: tensor "a": data_offsets: expected [begin, end], got [0, 4, 8]
      offsets fractional | m: tensor "a": data_offsets: expected [begin, end], whole numbers, got [0.5, 1.5]
      offsets negative | m: tensor "a": data_offsets: expected [begin, end], whole numbers, got [-4, 0]
      offsets backwards | m: tensor "a": data_offsets: expected begin ≤ end, got [4, 0]
      offsets beyond the file | m: tensor "b": data_offsets: expected to end within the 8 bytes of data, got [4, 12] (truncated file?)
      offsets not the shape's size | m: tensor "a": data_offsets: expected 24 bytes (F32 [2, 3]), got 4 ([0, 4])
      offsets overlap | m: tensor "b": data_offsets: expected to begin at 8, where tensor "a" ends, got 4 (overlap)
      two tensors in one place | m: tensor "b": data_offsets: expected to begin at 8, where tensor "a" ends, got 0 (overlap)
      hole between tensors | m: tensor "b": data_offsets: expected to begin at 4, where tensor "a" ends, got 8 (a hole)
      hole before the first | m: tensor "a": data_offsets: expected to begin at 0, where the data begins, got 4 (a hole)
      bytes after the last | m: data: expected 4 bytes, as the tensors end there, got 5
      data without tensors | m: data: expected 0 bytes, as the tensors end there, got 5
      empty tensor inside another | m: tensor "b": data_offsets: expected to begin at 8, where tensor "a" ends, got 4 (overlap)
      name twice | m: header: key "a" comes twice, again at line 1, column 55
      name twice, escaped | m: header: key "a" comes twice, again at line 1, column 55
      field twice | m: header: key "shape" comes twice in "a", again at line 1, column 33
      metadata a list | m: __metadata__: expected an object, got []
      metadata null | m: __metadata__: expected an object, got null
      metadata with a number | m: __metadata__["step"]: expected text, got 3
      very long name | m: tensor "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn…": header: expected an object, got 3"
    `);
  });

  test("the error has fields", async () => {
    const error = await complaint(fileOf(header(f32("a", 0, 4), f32("b", 8, 12)), 12));
    expect({ ...error }).toEqual({ name: "CheckpointError", file: "m", field: "data_offsets", tensor: "b" });
    expect("tensor" in (await complaint(fileOf("[]")))).toBe(false);
  });

  test("every truncation of a sound file is an error", async () => {
    const whole = fileOf(header(f32("a", 0, 4), f32("b", 4, 8)), 8);
    for (let length = 0; length < whole.byteLength; length++) {
      await expect(readSafetensorsHeader(memorySource("m", whole.subarray(0, length)))).rejects.toBeInstanceOf(
        CheckpointError,
      );
    }
  });
});

describe("sound files", () => {
  test("scalars, empty tensors, unordered entries, odd names, unknown fields, spaces after the header", async () => {
    const text = `{"b":${entry("F32", [], [2, 6])},"a":{"dtype":"U8","shape":[1,2],"data_offsets":[0,2],"note":1},"z":${entry("F64", [0, 2 ** 50, 2 ** 50], [6, 6])},"__proto__":${entry("U8", [1], [6, 7])},"":${entry("U8", [1], [7, 8])}}   `;
    const bytes = fileOf(text, 8);
    const { tensors, metadata } = await readSafetensorsHeader(memorySource("m", bytes));
    const start = bytes.byteLength - 8;
    expect(
      [...tensors.values()].map(({ name, shape, offset, byteLength }) => [name, shape, offset - start, byteLength]),
    ).toEqual([
      ["a", [1, 2], 0, 2],
      ["b", [], 2, 4],
      ["z", [0, 2 ** 50, 2 ** 50], 6, 0],
      ["__proto__", [1], 6, 1],
      ["", [1], 7, 1],
    ]);
    expect(metadata).toEqual({});
  });

  test("a file of eight tebibytes opens by its header alone", async () => {
    const head = fileOf(header(`"w":${entry("F16", [2 ** 21, 2 ** 21], [0, 2 ** 43])}`));
    const reads: number[] = [];
    const source: ByteSource = {
      name: "huge",
      size: head.byteLength + 2 ** 43,
      async read(offset, length) {
        reads.push(length);
        return head.slice(offset, offset + length);
      },
      close: async () => {},
    };
    const { tensors } = await readSafetensorsHeader(source);
    expect(tensors.get("w")?.byteLength).toBe(2 ** 43);
    expect(reads).toEqual([8, head.byteLength - 8]);
  });
});

/** Reads as a memory source does, and fails the test when more is asked for than the file has. */
async function readGuarded(bytes: Uint8Array): Promise<"sound" | "damaged"> {
  const inner = memorySource("m", bytes);
  const source: ByteSource = {
    ...inner,
    read(offset, length, signal) {
      expect(offset + length).toBeLessThanOrEqual(bytes.byteLength);
      return inner.read(offset, length, signal);
    },
  };
  try {
    await readSafetensorsHeader(source);
    return "sound";
  } catch (error) {
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as CheckpointError).message.length).toBeLessThan(1500);
    return "damaged";
  }
}

describe("fuzz", () => {
  const sound = fileOf(
    `{"__metadata__":{"format":"pt"},${f32("a.weight", 0, 16)},"b":${entry("BF16", [2, 3], [16, 28])},"c":${entry("BOOL", [4], [28, 32])}}`,
    32,
  );

  test("any bytes changed, cut or added give a sound file or a CheckpointError", async () => {
    const change = fc.record({ at: fc.nat(sound.byteLength - 1), to: fc.integer({ min: 0, max: 255 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(change, { maxLength: 4 }),
        fc.nat(sound.byteLength),
        fc.constantFrom("keep", "cut", "repeat"),
        async (changes, at, how) => {
          const bytes = sound.slice();
          for (const { at: place, to } of changes) bytes[place] = to;
          const shaped =
            how === "keep"
              ? bytes
              : how === "cut"
                ? bytes.slice(0, at)
                : Uint8Array.from([...bytes.slice(0, at), ...bytes.slice(at >> 1)]);
          await readGuarded(shaped);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("characters of the header exchanged for others of JSON", async () => {
    const length = Number(new DataView(sound.buffer).getBigUint64(0, true));
    const json = fc.constantFrom(...'{}[],:"0123456789-.eE\\ u\n').map((character) => character.charCodeAt(0));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 8, max: 7 + length }), json), { maxLength: 3 }),
        async (changes) => {
          const bytes = sound.slice();
          for (const [at, code] of changes) bytes[at] = code;
          await readGuarded(bytes);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("random header bytes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.nat(16), async (text, data) => {
        expect(await readGuarded(fileOf(text, data))).toBe("damaged");
      }),
    );
  });

  test("random JSON values in every place", async () => {
    const value = fc.jsonValue({ maxDepth: 2 });
    const place = fc.constantFrom("dtype", "shape", "data_offsets");
    await fc.assert(
      fc.asyncProperty(value, place, value, async (odd, field, other) => {
        const tensor = { dtype: "F32", shape: [1], data_offsets: [0, 4], [field]: odd };
        await readGuarded(fileOf(JSON.stringify({ a: tensor }), 4));
        await readGuarded(fileOf(JSON.stringify({ a: odd, __metadata__: other }), 4));
        await readGuarded(fileOf(JSON.stringify(other), 4));
      }),
    );
  });
});

describe("writing", () => {
  const tensorArbitrary = fc.record({
    dtype: fc.constantFrom(...safetensorsDtypes),
    shape: fc.array(fc.nat(4), { maxLength: 3 }),
    seed: fc.nat(255),
  });
  const patternOf = (length: number, seed: number): Uint8Array =>
    Uint8Array.from({ length }, (_, at) => (at * 31 + seed) % 256);

  test("every dtype is read back as written, whatever the names and shapes", async () => {
    const names = fc.uniqueArray(fc.oneof(fc.string({ unit: "grapheme" }), fc.constantFrom("7", "__proto__", "a.b")), {
      maxLength: 8,
    });
    await fc.assert(
      fc.asyncProperty(
        names,
        fc.array(tensorArbitrary, { minLength: 8, maxLength: 8 }),
        fc.dictionary(fc.string(), fc.string()),
        async (names, tensors, metadata) => {
          const want = names.map((name, at) => {
            const { dtype, shape, seed } = tensors[at] ?? { dtype: "U8" as const, shape: [], seed: 0 };
            const length = shape.reduce((product, extent) => product * extent, safetensorsDtypeBytes[dtype]);
            return { name, dtype, shape, data: patternOf(length, seed) };
          });
          const sink = memorySink();
          const list = want.map(({ data, ...tensor }, at) => ({
            ...tensor,
            bytes: () => (at % 2 ? data : Promise.resolve(data)),
          }));
          const written = await writeSafetensors(sink, list, metadata);
          const bytes = sink.bytes();
          expect(written).toBe(bytes.byteLength);

          const source = memorySource("m", bytes);
          const file = await readSafetensorsHeader(source);
          expect(Object.entries(file.metadata).sort()).toEqual(Object.entries(metadata).sort());
          expect([...file.tensors.keys()].sort()).toEqual(want.map(({ name }) => name).sort());
          for (const { name, dtype, shape, data } of want) {
            const found = file.tensors.get(name);
            expect(found).toMatchObject({ name, dtype, shape, byteLength: data.byteLength });
            expect(await source.read(found?.offset ?? -1, data.byteLength)).toEqual(data);
          }
        },
      ),
    );
  });

  test.each(safetensorsDtypes)("%s alone", async (dtype) => {
    const data = patternOf(6 * safetensorsDtypeBytes[dtype], 1);
    const sink = memorySink();
    await writeSafetensors(sink, [{ name: "t", dtype, shape: [2, 3], bytes: () => data }]);
    const source = memorySource("m", sink.bytes());
    const found = (await readSafetensorsHeader(source)).tensors.get("t");
    expect(found).toMatchObject({ dtype, shape: [2, 3] });
    expect((found?.offset ?? 1) % 8).toBe(0);
    expect(await source.read(found?.offset ?? -1, data.byteLength)).toEqual(data);
  });

  const tensor = (changes: Partial<TensorToWrite>): TensorToWrite => ({
    name: "a",
    dtype: "F32",
    shape: [1],
    bytes: () => new Uint8Array(4),
    ...changes,
  });
  const refused = [
    { name: "name twice", tensors: [tensor({}), tensor({})] },
    { name: "reserved name", tensors: [tensor({ name: "__metadata__" })] },
    { name: "negative shape", tensors: [tensor({ shape: [-1] })] },
    { name: "shape too large", tensors: [tensor({ shape: [2 ** 40, 2 ** 40] })] },
    { name: "unknown dtype", tensors: [tensor({ dtype: "F4" as "F32" })] }, // the compiler refuses it: a caller in plain JavaScript
    { name: "bytes not of the shape", tensors: [tensor({ bytes: () => new Uint8Array(3) })] },
  ];
  test("what cannot be written is refused", async () => {
    const lines: string[] = [];
    for (const { name, tensors } of refused) {
      const error: unknown = await writeSafetensors(memorySink(), tensors).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(RangeError);
      lines.push(`${name} | ${(error as RangeError).message}`);
    }
    expect(lines.join("\n")).toMatchInlineSnapshot(`
      "name twice | tensor "a": the name comes twice
      reserved name | tensor "__metadata__": the name is reserved
      negative shape | tensor "a": shape expected whole numbers and at most 2⁵³ − 1 bytes, got [-1]
      shape too large | tensor "a": shape expected whole numbers and at most 2⁵³ − 1 bytes, got [1099511627776, 1099511627776]
      unknown dtype | tensor "a": dtype expected one of F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8, BOOL, F8_E4M3, F8_E5M2, got "F4"
      bytes not of the shape | tensor "a": expected 4 bytes (F32 [1]), got 3"
    `);
  });

  test("nothing is written when a later tensor is unsound", async () => {
    const sink = memorySink();
    await expect(writeSafetensors(sink, [tensor({}), tensor({ name: "b", shape: [0.5] })])).rejects.toThrow(RangeError);
    expect(sink.bytes()).toHaveLength(0);
  });

  test("an abort stops between tensors", async () => {
    const abort = new AbortController();
    const asked: string[] = [];
    const list = ["a", "b", "c"].map((name) =>
      tensor({
        name,
        bytes: () => {
          asked.push(name);
          if (name === "b") abort.abort(new Error("enough"));
          return new Uint8Array(4);
        },
      }),
    );
    await expect(writeSafetensors(memorySink(), list, {}, { signal: abort.signal })).rejects.toThrow("enough");
    expect(asked).toEqual(["a", "b"]);
  });
});
