// Asks for an API key where the service wants one.

import * as api from "./api.js";
import { find } from "./dom.js";

export function listenToKey() {
  addEventListener("unauthorized", () => {
    find("#key-form").hidden = false;
    find("#key-said").textContent = api.key() ? "This API key is not known." : "This service asks for an API key.";
  });
  find("#key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    api.useKey(find("#key").value.trim());
    location.reload();
  });
}
