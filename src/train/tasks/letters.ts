/**
 * The letters of a word: count one of them, count all, write them backwards.
 */
import { family, type Level, type Material } from "./problem.js";
import type { Random } from "./random.js";
import { gap, Wordings } from "./wordings.js";

/** A word out of the commonest 1,500, 5,000 or 12,000 (or of all, when there are fewer). */
function drawWord(random: Random, level: Level, { words }: Material): string {
  return random.choice(words, [1500, 5000, 12_000][level]);
}

interface CountedLetter {
  readonly wording: number;
  readonly word: string;
  readonly letter: string;
}

const lettersWordings = new Wordings(
  [
    "How many times does the letter {c} occur in {w}?",
    "How many {c}'s are in the word {w}?",
    "Count the letter {c} in {w}.",
  ],
  { c: "[a-z]", w: gap.word },
);

/** How often a letter occurs in a word; mostly one that does. */
export const letters = family<CountedLetter>({
  name: "letters",
  weight: 1.2,
  highestDirectLevel: 0,
  draw: (random, level, material) => {
    const word = drawWord(random, level, material);
    const letter = random.choice(random.chance(0.85) ? word : "abcdefghilmnoprstuy");
    return { wording: lettersWordings.draw(random), word, letter };
  },
  build: ({ wording, word, letter }) => {
    let count = 0;
    const steps = [...word].map((x) => (x === letter ? `${x} ${++count}` : x));
    return {
      key: word,
      user: lettersWordings.write(wording, { c: letter, w: word }),
      think: `${[...word].join("-")}: ${steps.join(", ")}. Count ${count}.`,
      answer: String(count),
    };
  },
  read: (user) =>
    lettersWordings.read(user).map((r) => ({ wording: r.wording, word: r.text("w"), letter: r.text("c") })),
});

interface OneWord {
  readonly wording: number;
  readonly word: string;
}

const lengthWordings = new Wordings(["How many letters are in the word {w}?", "How long is the word {w}?"], {
  w: gap.word,
});

/** The number of letters of a word. */
export const length = family<OneWord>({
  name: "length",
  weight: 1.4,
  highestDirectLevel: 1,
  draw: (random, level, material) => ({
    wording: lengthWordings.draw(random),
    word: drawWord(random, level, material),
  }),
  build: ({ wording, word }) => ({
    key: word,
    user: lengthWordings.write(wording, { w: word }),
    think: `${[...word].join("-")}: ${[...word].map((x, i) => `${x} ${i + 1}`).join(", ")}.`,
    answer: String(word.length),
  }),
  read: (user) => lengthWordings.read(user).map((r) => ({ wording: r.wording, word: r.text("w") })),
});

const revwordWordings = new Wordings(["Reverse the word {w}.", "Write {w} backwards.", "Spell {w} backwards."], {
  w: gap.word,
});

/** A word backwards: up to 5, 7 or 9 letters. */
export const revword = family<OneWord>({
  name: "revword",
  weight: 1.6,
  highestDirectLevel: 0,
  draw: (random, level, material) => {
    let word = drawWord(random, level, material);
    if (word.length > 5 + 2 * level) {
      word = random.choice(material.words.slice(0, 400).filter((x) => x.length <= 5));
    }
    return { wording: revwordWordings.draw(random), word };
  },
  build: ({ wording, word }) => {
    const reversed = [...word].reverse();
    return {
      key: word,
      user: revwordWordings.write(wording, { w: word }),
      think: `${[...word].join("-")}. Backwards: ${reversed.join("-")}.`,
      answer: reversed.join(""),
      spelt: true,
    };
  },
  read: (user) => revwordWordings.read(user).map((r) => ({ wording: r.wording, word: r.text("w") })),
});
