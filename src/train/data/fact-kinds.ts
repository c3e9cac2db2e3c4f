/**
 * Kinds of facts that a text can tell, in several wordings, and questions about them.
 *
 * A model that was asked in one wording only answers in that wording only. So each kind is told and asked for in several, and some questions
 * are held out: they are never trained, and measure whether what was learnt is the question's meaning.
 */
import type { Material, Random } from "../tasks/index.js";
import { names as people } from "../tasks/vocabulary.js";

/** One kind of fact. `{k}` is what a question names, `{v}` the answer. */
export interface FactKind {
  /** Keys that differ, and their values; values differ too where there are `backward` questions. */
  draw(random: Random, count: number, material: Material): { readonly keys: string[]; readonly values: string[] };
  /** How often, relative to the others. Default 1. */
  readonly weight?: number;
  readonly statements: readonly string[];
  readonly questions: readonly string[];
  readonly heldOut: readonly string[];
  /** Questions that name the value and ask for the key. */
  readonly backward?: { readonly questions: readonly string[]; readonly heldOut: readonly string[] };
}

const list = (text: string): readonly string[] => text.split(" ");

const colours = list("red blue green white black brown grey yellow golden silver purple pink");
const trades = list(
  "baker tailor smith miller sailor teacher doctor farmer hunter painter weaver cook carpenter shepherd judge gardener fisher mason singer clerk potter barber guide lawyer printer porter dancer cobbler beekeeper watchmaker",
);
const foods = list(
  "bread cheese soup honey plums rice fish apples cake nuts pears eggs beans porridge cherries berries butter milk onions grapes carrots lentils pancakes mushrooms figs lemons pie jam olives peas",
);
const spots = list(
  "box drawer cupboard cellar garden kitchen attic barn tower chest basket bucket well stable shed oven pocket closet hall library bag jar wagon tent cave chapel mill bakery harbour inn",
);
const months = list("January February March April May June July August September October November December");
const [heads, tails] = [
  list("Bar Cal Dor El Fen Gar Hol Is Jor Kel Lor Mar Nor Or Pel Quin Ras Sel Tor Ul Vel Wes Yar Zan"),
  list("amba bury cor dale eth fold gard ham ia lin mere neth ova port ral stead tova una ven wick"),
];

const wordsCount = 4000;
const words = (random: Random, count: number, material: Material): string[] =>
  random.sample(material.words, count, wordsCount);
const names = (random: Random, count: number): string[] => random.sample(people, Math.min(count, people.length));
/** Invented places: nobody can know them from elsewhere. */
const places = (random: Random, count: number): string[] =>
  random
    .sample(
      Array.from({ length: heads.length * tails.length }, (_, i) => i),
      count,
    )
    .map((i) => heads[i % heads.length]! + tails[Math.floor(i / heads.length)]!);
/** Different whole numbers of lo … hi. */
const numbers = (random: Random, count: number, lo: number, hi: number): string[] => {
  const found = new Set<number>();
  while (found.size < count) found.add(random.int(lo, hi));
  return [...found].map(String);
};
const of = <T>(count: number, draw: () => T): T[] => Array.from({ length: count }, draw);

/** All kinds. The first statement and question of the first three are those of the exercise `recall`. */
export const factKinds: readonly FactKind[] = [
  {
    weight: 3,
    draw: (random, count, material) => ({
      keys: words(random, count, material),
      values: numbers(random, count, 1000, 9999),
    }),
    statements: [
      "The code for {k} is {v}.",
      "{v} is the code for {k}.",
      "For {k} the code {v} is used.",
      "{k} has the code {v}.",
    ],
    questions: [
      "What is the code for {k}?",
      "Which code does {k} have?",
      "Tell me the code for {k}.",
      "I need the code for {k}.",
    ],
    heldOut: ["Please look up the code that goes with {k}.", "{k} needs a code. Which one?"],
    backward: {
      questions: ["For what is {v} the code?", "What has the code {v}?"],
      heldOut: ["The code {v} stands for what?"],
    },
  },
  {
    weight: 3,
    draw: (random, count, material) => {
      const drawn = words(random, 2 * count, material);
      return { keys: drawn.slice(0, count), values: drawn.slice(count) };
    },
    statements: ["{k} = {v}.", "{k} goes with {v}.", "To {k} belongs {v}.", "{k} means {v}."],
    questions: [
      "Which word belongs to {k}?",
      "What goes with {k}?",
      "Which word stands with {k}?",
      "Give me the word for {k}.",
    ],
    heldOut: ["{k} is paired with which word?", "What is the partner of {k}?"],
    backward: {
      questions: ["Which word has {v} with it?", "What goes before {v}?"],
      heldOut: ["{v} is said of what?"],
    },
  },
  {
    weight: 3,
    draw: (random, count) => {
      const keys = names(random, count);
      return { keys, values: of(keys.length, () => `${random.int(2, 60)} ${random.choice(foods)}`) };
    },
    statements: ["{k} has {v}.", "{k} owns {v}.", "There are {v} with {k}.", "{k} bought {v}."],
    questions: ["What does {k} have?", "What is it that {k} has?", "Tell me what {k} has.", "What belongs to {k}?"],
    heldOut: ["What can {k} call their own?", "Which goods are in the hands of {k}?"],
  },
  {
    draw: (random, count, material) => {
      const keys = names(random, count);
      return { keys, values: words(random, keys.length, material) };
    },
    statements: ["The secret word of {k} is {v}.", "{k} has the secret word {v}.", "The secret that {k} keeps is {v}."],
    questions: [
      "What is the secret word of {k}?",
      "Which secret word does {k} have?",
      "Tell me the secret word of {k}.",
      "What word does {k} keep secret?",
    ],
    heldOut: ["Can you reveal the hidden word of {k}?", "{k} knows a secret word: which?"],
    backward: {
      questions: ["Whose secret word is {v}?", "Who has the secret word {v}?"],
      heldOut: ["The secret word {v} is whose?"],
    },
  },
  {
    draw: (random, count, material) => ({
      keys: numbers(random, count, 10, 999),
      values: words(random, count, material),
    }),
    statements: ["Number {k} is {v}.", "{v} is number {k}.", "Under number {k} stands {v}.", "No. {k}: {v}."],
    questions: ["What is number {k}?", "What stands under number {k}?", "Tell me number {k}.", "Which is number {k}?"],
    heldOut: ["What do we find at {k}?", "The entry numbered {k} says what?"],
    backward: {
      questions: ["Which number is {v}?", "What is the number of {v}?"],
      heldOut: ["{v} comes under which number?"],
    },
  },
  {
    draw: (random, count, material) => ({
      keys: words(random, count, material).map((word) => `${random.choice(colours)} ${word}`),
      values: of(count, () => `${random.int(2, 999)} coins`),
    }),
    statements: [
      "The {k} costs {v}.",
      "The price of the {k} is {v}.",
      "They ask {v} for the {k}.",
      "For {v} one gets the {k}.",
    ],
    questions: [
      "What does the {k} cost?",
      "What is the price of the {k}?",
      "How much is the {k}?",
      "What must one pay for the {k}?",
    ],
    heldOut: ["How many coins does one need to buy the {k}?", "At what price is the {k} sold?"],
  },
  {
    draw: (random, count, material) => ({
      keys: words(random, count, material),
      values: of(count, () => random.choice(people)),
    }),
    statements: [
      "The {k} belongs to {v}.",
      "{v} is the owner of the {k}.",
      "The {k} is the property of {v}.",
      "{v} owns the {k}.",
    ],
    questions: [
      "To whom does the {k} belong?",
      "Who owns the {k}?",
      "Whose is the {k}?",
      "Who is the owner of the {k}?",
    ],
    heldOut: ["In whose possession is the {k}?", "Name the person who owns the {k}."],
  },
  {
    draw: (random, count, material) => ({
      keys: words(random, count, material),
      values: of(count, () => String(random.int(0, 9))),
    }),
    statements: ["{k}: {v}", "{k} - {v}", "{k} -> {v}", "{k} {v}"],
    questions: ["{k}?", "What stands at {k}?", "{k}:", "Which digit has {k}?"],
    heldOut: ["Look up {k}.", "And the digit beside {k}?"],
  },
  {
    weight: 2,
    draw: (random, count) => {
      const drawn = places(random, 2 * count);
      return { keys: drawn.slice(0, count), values: drawn.slice(count) };
    },
    statements: [
      "The capital of {k} is {v}.",
      "{v} is the capital of {k}.",
      "{k} has the capital {v}.",
      "The king of {k} rules from the capital, {v}.",
    ],
    questions: [
      "What is the capital of {k}?",
      "Which town is the capital of {k}?",
      "Name the capital of {k}.",
      "What is the name of the capital of {k}?",
    ],
    heldOut: ["From which town is {k} ruled?", "Where is the seat of the king of {k}?"],
    backward: {
      questions: ["Of which land is {v} the capital?", "{v} is the capital of which land?"],
      heldOut: ["Which land is ruled from {v}?"],
    },
  },
  {
    weight: 2,
    draw: (random, count) => {
      const keys = names(random, count);
      return { keys, values: places(random, keys.length) };
    },
    statements: ["{k} lives in {v}.", "The home of {k} is in {v}.", "In {v} lives {k}.", "{k} has a house in {v}."],
    questions: [
      "Where does {k} live?",
      "In which town does {k} live?",
      "Where is the home of {k}?",
      "Tell me where {k} lives.",
    ],
    heldOut: ["In what place would one find the house of {k}?", "Which town does {k} call home?"],
    backward: { questions: ["Who lives in {v}?", "Whose home is in {v}?"], heldOut: ["{v} is home to whom?"] },
  },
  {
    weight: 2,
    draw: (random, count) => {
      const keys = names(random, count);
      return { keys, values: random.sample(trades, keys.length) };
    },
    statements: ["{k} is a {v}.", "{k} works as a {v}.", "{k} earns a living as a {v}.", "{k}, the {v}, was there."],
    questions: [
      "What is the trade of {k}?",
      "As what does {k} work?",
      "What does {k} do for a living?",
      "What work does {k} do?",
    ],
    heldOut: ["How does {k} earn money?", "What is the profession of {k}?"],
    backward: {
      questions: ["Who is the {v}?", "Who works as a {v}?"],
      heldOut: ["Which person has the work of a {v}?"],
    },
  },
  {
    weight: 2,
    draw: (random, count, material) => {
      const n = Math.min(count, spots.length);
      return { keys: words(random, n, material), values: random.sample(spots, n) };
    },
    statements: [
      "The {k} is in the {v}.",
      "They put the {k} into the {v}.",
      "The {k} lies in the {v}.",
      "In the {v} is the {k}.",
    ],
    questions: [
      "Where is the {k}?",
      "Where did they put the {k}?",
      "In what is the {k}?",
      "Where does one find the {k}?",
    ],
    heldOut: ["Where must I look for the {k}?", "What place holds the {k}?"],
    backward: {
      questions: ["What is in the {v}?", "What lies in the {v}?"],
      heldOut: ["What would one find inside the {v}?"],
    },
  },
  {
    draw: (random, count) => {
      const keys = names(random, count);
      const minutes = () => String(random.int(0, 59)).padStart(2, "0");
      return { keys, values: of(keys.length, () => `${random.int(6, 22)}:${minutes()}`) };
    },
    statements: ["{k} arrives at {v}.", "At {v} comes {k}.", "{k} will be there at {v}.", "{k} is expected at {v}."],
    questions: [
      "When does {k} arrive?",
      "At what time does {k} come?",
      "When will {k} be there?",
      "At what time does {k} arrive?",
    ],
    heldOut: ["By what time should we look out for {k}?", "What is the hour of the coming of {k}?"],
  },
  {
    draw: (random, count) => {
      const keys = names(random, count);
      return { keys, values: of(keys.length, () => `${random.choice(months)} ${random.int(1, 28)}`) };
    },
    statements: [
      "{k} was born on {v}.",
      "The birthday of {k} is {v}.",
      "On {v} is the birthday of {k}.",
      "{k} has a birthday on {v}.",
    ],
    questions: [
      "When was {k} born?",
      "When is the birthday of {k}?",
      "On which day was {k} born?",
      "What is the birthday of {k}?",
    ],
    heldOut: ["On what date does {k} grow a year older?", "Which day of the year is the birthday of {k}?"],
  },
  {
    draw: (random, count) => {
      const keys = names(random, count);
      return { keys, values: random.sample(foods, keys.length) };
    },
    statements: ["{k} likes {v} best.", "The favourite food of {k} is {v}.", "{k} loves {v} above all."],
    questions: [
      "What does {k} like best?",
      "What is the favourite food of {k}?",
      "Which food does {k} love?",
      "What would {k} like to eat?",
    ],
    heldOut: ["With which dish would one please {k}?", "What should we cook for {k}?"],
    backward: { questions: ["Who likes {v} best?", "Who loves {v}?"], heldOut: ["{v} would please whom?"] },
  },
  {
    draw: (random, count) => ({
      keys: places(random, count),
      values: numbers(random, count, 2, 900).map((n) => `${n} miles`),
    }),
    statements: ["It is {v} to {k}.", "{k} is {v} away.", "The way to {k} is {v}.", "To reach {k} one goes {v}."],
    questions: [
      "How far is it to {k}?",
      "How far away is {k}?",
      "How long is the way to {k}?",
      "How many miles is it to {k}?",
    ],
    heldOut: ["What distance lies between us and {k}?", "How far must one travel to reach {k}?"],
    backward: {
      questions: ["Which place is {v} away?", "To what place is it {v}?"],
      heldOut: ["What lies {v} from here?"],
    },
  },
];
