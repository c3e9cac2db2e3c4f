/**
 * What the page and its engine worker say to each other.
 *
 * One worker loads one model once: another model or device is another worker, so that nothing of a failed or lost device
 * stays behind.
 */
import type { FinishReason, Timings, Usage } from "fulgur";

export type DeviceChoice = "auto" | "webgpu" | "cpu";

export const deviceChoices: readonly DeviceChoice[] = ["auto", "webgpu", "cpu"];

export interface LoadRequest {
  /** Absolute. */
  readonly modelUrl: string;
  readonly device: DeviceChoice;
  /** Of the CPU device. Default: the machine's. */
  readonly threads?: number;
  /** Cache kind. Default: the library's. */
  readonly kv?: string;
}

/** A finished exchange, or the open question at the end. */
export interface Message {
  readonly role: "user" | "assistant";
  readonly text: string;
  /** The assistant's thinking. */
  readonly reasoning?: string;
}

export interface ChatSettings {
  readonly enableThinking: boolean;
  /** Undefined: no limit. */
  readonly thinkingBudget?: number;
  readonly temperature: number;
  readonly maxTokens: number;
}

export interface ModelInfo {
  readonly name: string;
  /** Where it runs, for people. */
  readonly device: string;
  readonly parameters: number;
  readonly activeParameters: number;
  /** Longest conversation in tokens. */
  readonly contextTokens: number;
  readonly canThink: boolean;
  /** What was asked for and is not to be had here. */
  readonly notes: readonly string[];
}

/** Tokens as the engine gave them, for comparisons with other devices. */
export interface GeneratedTokens {
  readonly ids: readonly number[];
  readonly logProbs: readonly number[];
  /** Prompt and tokens after the first, milliseconds. */
  readonly timings: { readonly prefillMs: number; readonly decodeMs: number };
}

export type ToWorker =
  | ({ readonly type: "load" } & LoadRequest)
  | {
      readonly type: "chat";
      readonly id: number;
      readonly messages: readonly Message[];
      readonly settings: ChatSettings;
    }
  | { readonly type: "generate"; readonly id: number; readonly prompt: string; readonly maxTokens: number }
  | { readonly type: "stop"; readonly id: number };

export type LoadStage = "device" | "files" | "weights";

export type FromWorker =
  | { readonly type: "progress"; readonly stage: LoadStage; readonly done: number; readonly total: number }
  | { readonly type: "ready"; readonly info: ModelInfo }
  /** The model cannot be used, or no longer. Only a new worker helps. */
  | { readonly type: "failed"; readonly message: string }
  | { readonly type: "part"; readonly id: number; readonly kind: "reasoning" | "answer"; readonly text: string }
  | {
      readonly type: "done";
      readonly id: number;
      readonly finishReason: FinishReason;
      readonly usage: Usage;
      readonly timings: Timings;
    }
  | { readonly type: "stopped"; readonly id: number }
  | { readonly type: "error"; readonly id: number; readonly message: string }
  | ({ readonly type: "generated"; readonly id: number } & GeneratedTokens);
