import { describe, expect, test } from "vitest";
import { defaultSettings, readAddress, readSettings } from "./settings.js";

describe("the page's address", () => {
  test("names the shipped model when it says nothing", () => {
    expect(readAddress("http://localhost:8080/")).toEqual({
      modelUrl: "http://localhost:8080/models/fulgur-mini/",
      device: undefined,
      threads: undefined,
      kv: undefined,
    });
  });

  test("gives model, device, threads and cache kind", () => {
    expect(readAddress("http://localhost/?model=/models/other&device=cpu&threads=2&kv=f16")).toEqual({
      modelUrl: "http://localhost/models/other",
      device: "cpu",
      threads: 2,
      kv: "f16",
    });
    expect(readAddress("http://localhost/?model=https://example.org/m/").modelUrl).toBe("https://example.org/m/");
  });

  test.each([
    ["?device=gpu", '?device= expected one of auto, webgpu, cpu, got "gpu"'],
    ["?threads=0", '?threads= expected a whole number from 1 to 99, got "0"'],
    ["?model=http://", '?model= expected an address or a path, got "http://"'],
  ])("%s is refused", (query, message) => {
    expect(() => readAddress(`http://localhost/${query}`)).toThrow(message);
  });
});

test("stored settings are taken field by field", () => {
  expect(readSettings({ device: "toaster", temperature: 0.7, maxTokens: -1 })).toEqual({
    ...defaultSettings,
    temperature: 0.7,
  });
  expect(readSettings("nonsense")).toEqual(defaultSettings);
});
