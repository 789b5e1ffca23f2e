# Needed only with store: vault. ENV is the environment's name.
path "secret/data/ledger/ENV/app" { capabilities = ["read"] }
path "secret/metadata/ledger/ENV/app" { capabilities = ["read", "list"] }
path "secret/data/ledger/ENV/postgres" { capabilities = ["read"] }
path "secret/metadata/ledger/ENV/postgres" { capabilities = ["read", "list"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
