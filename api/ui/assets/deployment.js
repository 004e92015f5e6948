// The page of a deployment: keys.

import { key } from "./keys.js";

key("c", () => document.getElementById("custom-run")?.click());
