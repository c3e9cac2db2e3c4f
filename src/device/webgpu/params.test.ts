import { expect, test } from "vitest";
import { parseBindings } from "./bindings.js";
import { sizeClass } from "./buffer-pool.js";
import { params } from "./params.js";

test("one schema gives the struct and its bytes", () => {
  const schema = params({ channels: "u32", eps: "f32", offset: "i32" });
  expect(schema.wgsl).toBe("struct Params { channels: u32, eps: f32, offset: i32 }");
  const bytes = schema.write({ channels: 4_000_000_000, eps: 1.5, offset: -2 });
  expect(bytes.byteLength).toBe(16);
  const view = new DataView(bytes.buffer);
  expect([view.getUint32(0, true), view.getFloat32(4, true), view.getInt32(8, true)]).toEqual([4_000_000_000, 1.5, -2]);
  expect(params({ a: "u32", b: "u32", c: "u32", d: "u32", e: "u32" }).byteLength).toBe(32);
});

test("values out of range are refused by name", () => {
  const schema = params({ rows: "u32", from: "i32", eps: "f32" });
  const good = { rows: 1, from: 1, eps: 1 };
  expect(() => schema.write({ ...good, rows: -1 })).toThrow("params: rows expected u32, got -1");
  expect(() => schema.write({ ...good, rows: 1.5 })).toThrow("params: rows expected u32, got 1.5");
  expect(() => schema.write({ ...good, from: 2 ** 31 })).toThrow("params: from expected i32");
  expect(schema.write({ ...good, rows: -0 })[0]).toBe(0);
  expect(() => params({})).toThrow("empty struct");
  expect(() => params({ "0": "u32" })).toThrow("no WGSL field name");
});

test("bindings are read from the text", () => {
  const parse = (code: string) => parseBindings({ label: "k", code });
  expect(
    parse(`// @group(0) @binding(9) var<storage> comment: array<f32>;
@group(0) @binding(0) var<uniform> p: Params;
@binding(2) @group(0)
var<storage, read_write> y: array<f32>;
@group(0) @binding(1u) var<storage> x: array<f32>; /* @group(0) @binding(3) var<storage> z: u32; */`),
  ).toEqual({ hasParams: true, storage: ["read", "read_write"] });
  expect(() => parse("@group(1) @binding(1) var<storage> x: array<f32>;")).toThrow(
    `kernel "k": x must be in @group(0)`,
  );
  expect(() => parse("@group(0) @binding(0) var<storage> x: array<f32>;")).toThrow("at @binding(1) or later");
  expect(() => parse("@group(0) @binding(2) var<storage> x: array<f32>;")).toThrow(
    "no storage variable at @binding(1)",
  );
  expect(() => parse("@group(0) @binding(1) var<uniform> x: u32;")).toThrow("must be @binding(0)");
  expect(() => parse("fn main() {}")).toThrow("no storage binding");
});

test("size classes are few, rising and hold what they are for", () => {
  const sizes = new Set<number>();
  for (let bytes = 4; bytes < 2 ** 31; bytes = Math.ceil(bytes * 1.01) + 3) {
    const size = sizeClass(bytes);
    expect(size).toBeGreaterThanOrEqual(bytes);
    expect(size % 4).toBe(0);
    if (bytes > 256) expect(size).toBeLessThanOrEqual(bytes * 1.25 + 4);
    sizes.add(size);
  }
  expect(sizes.size).toBeLessThan(180);
});
