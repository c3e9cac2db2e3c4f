/**
 * Lists of words: sorted, turned round, the n-th one, copied, in capitals.
 */
import { family, listKey } from "./problem.js";
import { gap, type Reading, Wordings } from "./wordings.js";

interface WordList {
  readonly wording: number;
  readonly words: readonly string[];
}

const readList =
  (separator: string) =>
  (r: Reading): WordList => ({ wording: r.wording, words: r.text("x").split(separator) });

const sortwordsWordings = new Wordings(
  ["Sort these words alphabetically: {x}", "Put these words in alphabetical order: {x}"],
  { x: gap.words },
);

/** Alphabetical order; the thought looks at the first four letters of what is left. */
export const sortwords = family<WordList>({
  name: "sortwords",
  weight: 1.8,
  highestDirectLevel: 0,
  draw: (random, level, material) => ({
    wording: sortwordsWordings.draw(random),
    words: random.sample(material.words, [3, 4, 6][level]!, 3000),
  }),
  build: ({ wording, words }) => {
    const sorted = [...words].sort(); // lower-case letters a–z: code units are alphabetical
    const rest = [...words];
    const steps = sorted.slice(0, -1).map((next) => {
      const step = `First letters: ${rest.map((word) => word.slice(0, 4)).join(" ")}. First is ${next}.`;
      rest.splice(rest.indexOf(next), 1);
      return step;
    });
    return {
      key: listKey(words),
      user: sortwordsWordings.write(wording, { x: words.join(", ") }),
      think: steps.join("\n"),
      answer: sorted.join(", "),
    };
  },
  read: (user) => sortwordsWordings.read(user).map(readList(", ")),
});

const numbered = (words: readonly string[]): string => `${words.map((word, i) => `${i + 1} ${word}`).join(" ")}.`;

const revlistWordings = new Wordings(
  ["Reverse the order of these words: {x}", "Write these words in reverse order: {x}"],
  { x: gap.words },
);

/** Words in reverse order. */
export const revlist = family<WordList>({
  name: "revlist",
  weight: 1,
  highestDirectLevel: 2,
  draw: (random, level, material) => ({
    wording: revlistWordings.draw(random),
    words: random.sample(material.words, [3, 5, 7][level]!, 2500),
  }),
  build: ({ wording, words }) => ({
    key: listKey(words),
    user: revlistWordings.write(wording, { x: words.join(" ") }),
    think: numbered(words),
    answer: [...words].reverse().join(" "),
  }),
  read: (user) => revlistWordings.read(user).map(readList(" ")),
});

const ordinals = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"] as const;

interface Nth extends WordList {
  readonly index: number;
}

const nthWordings = new Wordings(["What is the {o} word in this list: {x}?", "Give the {o} word: {x}"], {
  o: ordinals.join("|"),
  x: gap.words,
});

/** The n-th word of a list, by counting up to it. */
export const nth = family<Nth>({
  name: "nth",
  weight: 1,
  highestDirectLevel: 2,
  draw: (random, level, material) => {
    const words = random.sample(material.words, [4, 6, 9][level]!, 2500);
    return { wording: nthWordings.draw(random), words, index: random.int(0, words.length - 1) };
  },
  build: ({ wording, words, index }) => ({
    key: listKey(words) + ordinals[index],
    user: nthWordings.write(wording, { o: ordinals[index]!, x: words.join(", ") }),
    think: numbered(words.slice(0, index + 1)),
    answer: words[index]!,
  }),
  read: (user) =>
    nthWordings
      .read(user)
      .map((r) => ({ ...readList(", ")(r), index: (ordinals as readonly string[]).indexOf(r.text("o")) }))
      .filter(({ words, index }) => index < words.length),
});

interface Text {
  readonly wording: number;
  readonly text: string;
}

const readText = (r: Reading): Text => ({ wording: r.wording, text: r.text("s") });

const copyWordings = new Wordings(["Repeat after me: {s}", "Say exactly: {s}", "Copy this: {s}"], { s: gap.anything });

/** Words and numbers to repeat; there is nothing to think about. */
export const copy = family<Text>({
  name: "copy",
  weight: 1.4,
  highestDirectLevel: 2,
  draw: (random, level, material) => {
    const item = (): string => (random.chance(0.7) ? random.choice(material.words, 6000) : String(random.digits(1, 4)));
    return { wording: copyWordings.draw(random), text: Array.from({ length: [4, 8, 14][level]! }, item).join(" ") };
  },
  build: ({ wording, text }) => ({
    key: text,
    user: copyWordings.write(wording, { s: text }),
    think: "",
    answer: text,
  }),
  read: (user) => copyWordings.read(user).map(readText),
});

const caseWordings = new Wordings(["Write in capital letters: {s}", "Put this in upper case: {s}"], { s: gap.words });

/** Words in capitals, spelt out first. (`case` is a reserved word.) */
export const upperCase = family<Text>({
  name: "case",
  weight: 1.6,
  highestDirectLevel: 2,
  draw: (random, level, material) => ({
    wording: caseWordings.draw(random),
    text: random.sample(material.words, [2, 4, 6][level]!, 3000).join(" "),
  }),
  build: ({ wording, text }) => {
    const capitals = text.toUpperCase();
    const spelt = capitals.split(" ").map((word) => [...word].join("-"));
    return {
      key: text,
      user: caseWordings.write(wording, { s: text }),
      think: `${spelt.join(", ")}.`,
      answer: capitals,
      spelt: true,
    };
  },
  read: (user) => caseWordings.read(user).map(readText),
});
