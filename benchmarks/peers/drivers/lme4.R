# lme4, which takes donors as they are; with a kinship, the effects of individuals are turned by a
# root of it, as the pedigreemm package does.
suppressMessages({ library(lme4); library(Matrix) })
K <- read("K.txt"); Y <- read("Y.txt"); X <- read("X.txt")
share <- function(theta) matrix(theta^2 / (1 + theta^2))
with_kinship <- function() {
  data <- data.frame(y = Y[, 1], id = factor(seq_len(nrow(Y))))
  control <- lmerControl(check.nobs.vs.nlev = "ignore", check.nobs.vs.nRE = "ignore")
  parts <- lFormula(y ~ 0 + X + (1 | id), data, REML = TRUE, control = control)
  parts$reTrms$Zt <- as(as(chol(K), "CsparseMatrix"), "generalMatrix")
  deviance <- do.call(mkLmerDevfun, parts)
  share(optimizeLmer(deviance)$par)
}
with_donors <- function() {
  donor <- factor(max.col(K, "first"))
  model <- lmer(Y[, 1] ~ 0 + X + (1 | donor), REML = TRUE)
  in_turn(ncol(Y), function(k) share(getME(refit(model, Y[, k]), "theta")))
}
run <- list("fit-one" = with_kinship, "repeated-donors" = with_donors)[[task]]
