/**
 * Exercises with exact answers: generators, split, judge. See `make`, `verify`, `families`.
 */
export { type Evaluated, evaluate } from "./expression.js";
export { checkedFamilies, defaultMaterial, families, familyNamed, make, openFamilies, readProblem } from "./make.js";
export type { CountdownCheck, Exercise, Family, Gloss, Level, Material, Problem } from "./problem.js";
export { type Mode, toPrompt, toReply } from "./prompt.js";
export { Random, type RandomState } from "./random.js";
export {
  type DistantProblem,
  type RecallOverDistanceOptions,
  recallOverDistance,
} from "./recall-over-distance.js";
export { crc32, isEvaluation, type Split } from "./split.js";
export { verify } from "./verify.js";
export { commonWords, parseWords } from "./words.js";
