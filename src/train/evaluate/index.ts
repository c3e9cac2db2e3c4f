/** Measuring models: perplexity of texts, accuracy on exercises. */
export { negativeLogLikelihood } from "./negative-log-likelihood.js";
export {
  type NllSum,
  type Perplexity,
  type PerplexityOptions,
  type PerplexityProgress,
  perplexity,
  summary,
  TextTooShortError,
  windowStarts,
} from "./perplexity.js";
export {
  drawProblems,
  type EvaluationProblem,
  type ProblemChoice,
  ProblemFileError,
  readProblems,
} from "./problems.js";
export {
  drawRecall,
  type RecallChoice,
  type RecallProblem,
  type RecallResult,
  type RecallScore,
  recallScores,
} from "./recall.js";
export {
  type Answer,
  type Answerer,
  chatAnswerer,
  evaluateTasks,
  type FamilyScore,
  type Marked,
  type ModeScore,
  type Score,
  scores,
  type TasksOptions,
  type TasksResult,
} from "./tasks.js";
