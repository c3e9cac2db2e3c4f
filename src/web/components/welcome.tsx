import { Bolt } from "./icons.js";

/** Questions of kinds that fulgur-mini was trained on. */
const samples: readonly string[] = [
  "What is 347 + 58?",
  "Sort these numbers from small to large: 62, 7, 148, 35, 91",
  "What is 23 * 47?",
  "If today is Friday, what day is it in 10 days?",
  "Make 24 from 3, 5, 9, using each number once.",
  "Reverse the word lantern.",
  "What is a harbour?",
  "Tell me a story about a fox.",
];

interface WelcomeProps {
  readonly canAsk: boolean;
  onAsk(question: string): void;
}

/** An empty conversation: what this is, and questions to begin with. */
export function Welcome({ canAsk, onAsk }: WelcomeProps) {
  return (
    <main class="scroll welcome">
      <div class="welcome-body">
        <Bolt />
        <h2>A model in your browser</h2>
        <p>
          It runs on this machine alone: no word leaves the page. It is small: it reckons, sorts, spells and tells
          tales.
        </p>
        <ul class="chips" aria-label="Sample questions">
          {samples.map((question) => (
            <li key={question}>
              <button type="button" class="chip" disabled={!canAsk} onClick={() => onAsk(question)}>
                {question}
              </button>
            </li>
          ))}
        </ul>
      </div>
    </main>
  );
}
