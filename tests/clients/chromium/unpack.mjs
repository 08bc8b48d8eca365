// Unpacks the package's browser into the folder for temporary files, and prints its path. The package
// unpacks the libraries that a bare system lacks only if this variable is set:
process.env.AWS_EXECUTION_ENV = "AWS_Lambda_nodejs20.x";
const { default: chromium } = await import("@sparticuz/chromium");
console.log(await chromium.executablePath());
