#!/usr/bin/env bash
# Create all secrets of this site at random; there are no default passwords.
# Requires openssl and the Python environment of the checkout. Existing files are kept.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
random() { openssl rand -hex 24; }
once() { if [ -e "secrets/$1" ]; then cat > /dev/null; else cat > "secrets/$1"; fi; }

random | tr -d '\n' | once postgres_password
random | tr -d '\n' | once grafana_password
# Patients keep their pseudonyms only with the same key: put an existing one here first.
random | tr -d '\n' | once pseudonym_key
echo -n "synthct:$(random)" | once prefect_auth
echo "proxy_set_header Authorization \"Basic $(base64 -w0 < secrets/prefect_auth)\";" | once prefect_authorization

key=$(random) secret=$(random)
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$key" "$secret" | once s3_credentials
key=$(sed -n 's/^aws_access_key_id = //p' secrets/s3_credentials)
secret=$(sed -n 's/^aws_secret_access_key = //p' secrets/s3_credentials)
printf '{"identities": [{"name": "synthct", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}\n' \
    "$key" "$secret" | once s3_identities

if [ ! -e secrets/htpasswd ]; then
    password=$(random)
    printf 'synthct:%s\n' "$(openssl passwd -6 "$password")" > secrets/htpasswd
    echo "web: user synthct, password $password (shown once)"
fi
if [ ! -e secrets/web.key ]; then
    openssl req -x509 -newkey rsa:3072 -nodes -days 365 -subj "/CN=${SYNTHCT_HOST:-localhost}" \
        -addext "subjectAltName=DNS:${SYNTHCT_HOST:-localhost}" \
        -keyout secrets/web.key -out secrets/web.pem 2> /dev/null
fi
if [ ! -e secrets/node.key ]; then
    (cd ../.. && "${PYTHON:-python}" -m synthct.flows.clusters.authority infra/compose/secrets/authority)
    mv secrets/authority/ca.pem secrets/authority/node.pem secrets/authority/node.key secrets/
    echo "keep secrets/authority/ca.key away from this machine"
fi
# Containers get single files of this folder and read them as their own users, none of which is root.
# On this machine the folder itself is closed to everybody else.
chmod 700 secrets
find secrets -maxdepth 1 -type f ! -name .gitignore -exec chmod 444 {} +
