// Redoc takes its colours once, so the page follows the system when it is loaded.
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.classList.toggle("dark-mode", dark);
const brand = dark ? "#8ab6ff" : "#1f5fbf";
const font = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const onDark = {
  colors: {
    text: { primary: "#e4e6e6", secondary: "#b6bcc4" },
    border: { dark: "#3a4048", light: "#2a2f36" },
    gray: { 50: "#1c2025", 100: "#22272d" },
    success: { main: "#6fcf8e" },
    error: { main: "#ff8a8a" },
  },
  schema: { nestedBackground: "#1c2025", linesColor: "#5b6570" },
  sidebar: { backgroundColor: "#1c2025", textColor: "#e4e6e6", activeTextColor: brand },
};

const theme = {
  colors: {
    primary: { main: brand },
    responses: { error: { tabTextColor: "#e5534b" }, redirect: { color: dark ? "#f2b45c" : "#8a5200" } },
  },
  rightPanel: { backgroundColor: "#1b2430" },
  typography: {
    fontFamily: font,
    headings: { fontFamily: font },
    code: { color: brand, backgroundColor: dark ? "#22272d" : "#f1f4f9" },
    links: { color: brand },
  },
};

Redoc.init(
  "openapi.json",
  {
    hideDownloadButtons: true,
    theme: dark ? { ...theme, ...onDark, colors: { ...theme.colors, ...onDark.colors } } : theme,
  },
  document.getElementById("api"),
);
