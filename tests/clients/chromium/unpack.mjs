// Unpacks the browser of the package into the folder for temporary files, and says where it is.
// The package takes out the libraries that a bare system lacks only where it believes to be here:
process.env.AWS_EXECUTION_ENV = "AWS_Lambda_nodejs20.x";
const { default: chromium } = await import("@sparticuz/chromium");
console.log(await chromium.executablePath());
