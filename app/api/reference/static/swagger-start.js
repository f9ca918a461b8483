const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

const order = ["get", "post", "delete"];

// A key that is typed in stays in the page's memory, and the API's description is sent to no validator.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  operationsSorter: (one, other) => order.indexOf(one.get("method")) - order.indexOf(other.get("method")),
  persistAuthorization: false,
  syntaxHighlight: { theme: "tomorrow-night" },
  validatorUrl: null,
});

// Each field of the dialog asks for the focus, and the last one, which few people need, would keep it.
document.addEventListener("click", ({ target }) => {
  if (target.closest(".auth-wrapper > .authorize, .authorization__btn")) document.querySelector(".dialog-ux input")?.focus();
});
