/**
 * Telling a story and going on with a text. They need `material.stories` and `material.continuations`.
 */
import { family, needed } from "./problem.js";

interface Said {
  readonly user: string;
  readonly think: string;
  readonly answer: string;
}

/** A tale about a topic. */
export const story = family<Said>({
  name: "story",
  weight: 0.7,
  highestDirectLevel: 2,
  isOpen: true,
  draw: (random, _level, material) => {
    const [topic, text] = random.choice(needed(material.stories, "story", "stories"));
    return {
      user: random.choice([
        `Tell me a story about ${topic}.`,
        `Write a short tale about ${topic}.`,
        `Tell me a tale of ${topic}.`,
        `Please tell me a short story about ${topic}.`,
      ]),
      think: `I begin a tale about ${topic}.`,
      answer: text,
    };
  },
  build: (said) => ({ key: null, ...said }),
});

/** The text that follows a beginning. (`continue` is a reserved word.) */
export const continuation = family<Said>({
  name: "continue",
  weight: 0.9,
  highestDirectLevel: 2,
  isOpen: true,
  draw: (random, _level, material) => {
    const [beginning, text] = random.choice(needed(material.continuations, "continue", "continuations"));
    const request = random.choice(["Continue this story: ", "Go on with this text: ", "What happens next? "]);
    return { user: request + beginning, think: "I go on in the same style.", answer: text };
  },
  build: (said) => ({ key: null, ...said }),
});
