/** What the user can set, kept in the browser, and what the address says. */
import { type ChatSettings, type DeviceChoice, deviceChoices, type LoadRequest } from "./protocol.js";

export interface Settings {
  readonly device: DeviceChoice;
  readonly enableThinking: boolean;
  /** Undefined: no limit. */
  readonly thinkingBudget: number | undefined;
  readonly temperature: number;
  readonly maxTokens: number;
}

export const defaultSettings: Settings = {
  device: "auto",
  enableThinking: true,
  thinkingBudget: undefined,
  temperature: 0,
  maxTokens: 512,
};

const storageKey = "fulgur.settings";

/** A damaged or foreign entry falls back field by field. */
export function readSettings(json: unknown): Settings {
  const from: Record<string, unknown> = typeof json === "object" && json !== null ? { ...json } : {};
  const number = (name: string, least: number, most: number): number | undefined => {
    const value = from[name];
    return typeof value === "number" && value >= least && value <= most ? value : undefined;
  };
  const { device, enableThinking } = from;
  return {
    device: deviceChoices.find((choice) => choice === device) ?? defaultSettings.device,
    enableThinking: typeof enableThinking === "boolean" ? enableThinking : defaultSettings.enableThinking,
    thinkingBudget: number("thinkingBudget", 0, 1e7),
    temperature: number("temperature", 0, 2) ?? defaultSettings.temperature,
    maxTokens: number("maxTokens", 1, 1e7) ?? defaultSettings.maxTokens,
  };
}

/** Storage may be forbidden (private windows, file addresses): then nothing is kept. */
export function loadSettings(): Settings {
  try {
    return readSettings(JSON.parse(localStorage.getItem(storageKey) ?? "null"));
  } catch {
    return defaultSettings;
  }
}

export function saveSettings(settings: Settings): void {
  try {
    localStorage.setItem(storageKey, JSON.stringify(settings));
  } catch {
    // Not kept; the settings hold until the page is closed.
  }
}

export function chatSettings({ enableThinking, thinkingBudget, temperature, maxTokens }: Settings): ChatSettings {
  return {
    enableThinking,
    ...(thinkingBudget === undefined ? {} : { thinkingBudget }),
    temperature,
    maxTokens,
  };
}

export interface AddressOptions {
  readonly modelUrl: string;
  readonly device: DeviceChoice | undefined;
  readonly threads: number | undefined;
  readonly kv: string | undefined;
}

/**
 * Reads `?model= &device= &threads= &kv=` of the page's address. The model is an address, or a path on this server.
 *
 * @throws {RangeError} A value that cannot be meant.
 */
export function readAddress(href: string): AddressOptions {
  const { searchParams } = new URL(href);
  const device = searchParams.get("device");
  const choice = deviceChoices.find((known) => known === device);
  if (device !== null && !choice) {
    throw new RangeError(`?device= expected one of ${deviceChoices.join(", ")}, got "${device}"`);
  }
  const threads = searchParams.get("threads");
  if (threads !== null && !/^[1-9]\d?$/.test(threads)) {
    throw new RangeError(`?threads= expected a whole number from 1 to 99, got "${threads}"`);
  }
  const model = searchParams.get("model") ?? "/models/fulgur-mini/";
  if (!URL.canParse(model, href)) throw new RangeError(`?model= expected an address or a path, got "${model}"`);
  return {
    modelUrl: new URL(model, href).href,
    device: choice,
    threads: threads === null ? undefined : Number(threads),
    kv: searchParams.get("kv") ?? undefined,
  };
}

export function loadRequest({ modelUrl, threads, kv }: AddressOptions, device: DeviceChoice): LoadRequest {
  return {
    modelUrl,
    device,
    ...(threads === undefined ? {} : { threads }),
    ...(kv === undefined ? {} : { kv }),
  };
}
