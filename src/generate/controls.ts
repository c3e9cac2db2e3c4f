/** A sequence's generation control as words for the device; see ops/step/layout. */
import { CONTROL, CONTROL_WORDS, MAX_FORCED, MAX_STOPS } from "../ops/index.js";
import type { TokenRequest } from "./request.js";

/** @param position tokens in the cache after the prompt; @param maxPosition positions that the sequence may reach. */
export function controlWords(request: TokenRequest, position: number, maxPosition: number): Int32Array {
  const { sampling, thinking, stopIds, closingIds, repetitionStop } = request;
  if (stopIds.length > MAX_STOPS) throw new RangeError(`at most ${MAX_STOPS} stop tokens, got ${stopIds.length}`);
  if (closingIds.length > MAX_FORCED) {
    throw new RangeError(`the text that closes the thinking may have ${MAX_FORCED} tokens, got ${closingIds.length}`);
  }
  const words = new Int32Array(CONTROL_WORDS);
  const floats = new Float32Array(words.buffer);
  words[CONTROL.active] = 1;
  words[CONTROL.position] = position;
  words[CONTROL.maxTokens] = request.maxTokens;
  words[CONTROL.thinkState] = thinking?.startsInside ? 1 : 0;
  words[CONTROL.thinkBudget] = thinking?.budget ?? -1;
  words[CONTROL.openId] = thinking?.openId ?? -1;
  words[CONTROL.closeId] = thinking?.closeId ?? -1;
  // A budget of nothing, with the marker already in the prompt: the closing text comes first.
  words[CONTROL.forcedAt] = thinking?.startsInside && thinking.budget === 0 && closingIds.length > 0 ? 0 : -1;
  words[CONTROL.forcedCount] = closingIds.length;
  words.set(closingIds, CONTROL.forced);
  words[CONTROL.stopCount] = stopIds.length;
  words.set(stopIds, CONTROL.stop);
  words[CONTROL.repeatLimit] = repetitionStop.tokens;
  floats[CONTROL.repeatThreshold] = Math.log(repetitionStop.probability);
  words[CONTROL.seed] = sampling.seed | 0;
  floats[CONTROL.temperature] = sampling.temperature;
  words[CONTROL.topK] = sampling.topK;
  floats[CONTROL.topP] = sampling.topP;
  floats[CONTROL.minP] = sampling.minP;
  floats[CONTROL.repetitionPenalty] = sampling.repetitionPenalty;
  words[CONTROL.maxPosition] = maxPosition;
  return words;
}
