// Tells which version it is, and ends when it is asked to.
const server = require("http").createServer((request, response) => {
  response.setHeader("content-type", "text/plain");
  response.end(`version ${process.env.VERSION}\n`);
});
server.listen(3000, "::");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
