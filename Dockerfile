# The primary in a container. The first stage installs from the hash-pinned lists in requirements/. The last stage contains
# the result with git and ssh, but no build tools. docs/container.md says how to run it.
# A tag moves: --build-arg BASE=python:3.13-slim-bookworm@sha256:… builds on exactly that image. `make image` finds that
# digest, and adds the labels that differ from build to build.
ARG PYTHON=3.13
ARG BASE=python:${PYTHON}-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/build.txt requirements/run.txt requirements/otel.txt requirements/dask.txt requirements/
# --build-arg EXTRAS=otel installs what sends traces as well, EXTRAS=dask the engine dask: each from its own list of pins.
ARG EXTRAS=
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --quiet --only-binary :all: --require-hashes -r requirements/build.txt \
    && python -m venv --without-pip /opt/dreamcatcherd \
    && /opt/build/bin/pip --python /opt/dreamcatcherd/bin/python install --quiet --no-compile \
        --only-binary :all: --require-hashes -r requirements/${EXTRAS:-run}.txt
COPY pyproject.toml README.md LICENSE ./
COPY dreamcatcherd/ dreamcatcherd/
# Git, which knows the version, is not in the build: --build-arg VERSION=… sets the version of the wheel.
ARG VERSION=
# The root file system is read-only later, so Python compiles everything now, except for 500 lexers that nothing imports.
# The files no longer change, so their timestamps are not checked.
RUN ${VERSION:+env SETUPTOOLS_SCM_PRETEND_VERSION=${VERSION}} \
    /opt/build/bin/pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir /tmp/wheel . \
    && /opt/build/bin/pip --python /opt/dreamcatcherd/bin/python install --quiet --no-compile --no-deps --no-index \
        /tmp/wheel/*.whl \
    && python -m compileall -q --invalidation-mode unchecked-hash -x '/pygments/(lexers|styles)/' /opt/dreamcatcherd/lib

FROM ${BASE}
# git's Perl, its servers and all translations are left out: 75 MB that no git command used here needs. dpkg still knows
# the packages, so scanners and upgrades do too. tini reaps the orphans of a git process stopped at its time limit.
# hadolint ignore=DL3008
RUN printf 'path-exclude=%s\n' '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*' '/usr/share/gitweb/*' \
        '/usr/share/bash-completion/*' \
        '/usr/share/perl/*' '/usr/share/perl5/*' '/usr/lib/*/perl/*' '/usr/lib/*/libperl.so*' '/usr/bin/scalar' \
        '/usr/bin/git-shell' '/usr/lib/git-core/scalar' '/usr/lib/git-core/git-daemon' '/usr/lib/git-core/git-shell' \
        '/usr/lib/git-core/git-http-backend' '/usr/lib/git-core/git-http-push' '/usr/lib/git-core/git-imap-send' \
        > /etc/dpkg/dpkg.cfg.d/slim \
    && apt-get update \
    && apt-get install -y --no-install-recommends git openssh-client tini \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
    && groupadd --gid 10001 dreamcatcherd \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/dreamcatcherd --shell /usr/sbin/nologin \
        dreamcatcherd \
    && install -d -o dreamcatcherd -g dreamcatcherd -m 0755 /var/lib/dreamcatcherd
COPY --from=build /opt/dreamcatcherd /opt/dreamcatcherd

# Nobody outside can reach a container's loopback, so the daemon listens on all addresses, without a token. Publish the
# port only to 127.0.0.1 of the host, or set [http] token_file or tls_cert and DREAMCATCHERD_HTTP_INSECURE=false.
ENV PATH=/opt/dreamcatcherd/bin:$PATH \
    HOME=/var/lib/dreamcatcherd \
    STATE_DIRECTORY=/var/lib/dreamcatcherd \
    DREAMCATCHERD_HTTP_LISTEN=0.0.0.0:9464 \
    DREAMCATCHERD_HTTP_INSECURE=true \
    PYTHONDONTWRITEBYTECODE=1
LABEL org.opencontainers.image.title="dreamcatcherd" \
    org.opencontainers.image.description="The coordinator of the Dream Catcher Protocol" \
    org.opencontainers.image.licenses="MIT"
USER 10001:10001
WORKDIR /var/lib/dreamcatcherd
VOLUME /var/lib/dreamcatcherd
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-I", "-m", "dreamcatcherd.web.healthcheck"]
ENTRYPOINT ["tini", "--", "dreamcatcherd"]
CMD ["run"]
