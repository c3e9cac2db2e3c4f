/** Starts the page. */
import { render } from "preact";
import { App } from "./app.js";
import "./style.css";

const root = document.getElementById("app");
if (!root) throw new Error('internal: index.html has no element "app"');
render(<App />, root);
