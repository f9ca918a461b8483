const brand = "#1f5fbf";
const font = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

Redoc.init(
  "/openapi.json",
  {
    hideDownloadButtons: true,
    theme: {
      colors: {
        primary: { main: brand },
        responses: { error: { tabTextColor: "#e5534b" }, redirect: { color: "#8a5200" } },
      },
      rightPanel: { backgroundColor: "#1b2430" },
      typography: { fontFamily: font, headings: { fontFamily: font }, code: { color: brand, backgroundColor: "#f1f4f9" }, links: { color: brand } },
    },
  },
  document.getElementById("api"),
);
