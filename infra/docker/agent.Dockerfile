# The agent, the public CAs that the wake API's certificate needs, and nothing else: no shell, no libraries.
# infra/docker/build.sh puts both files into the build context. In a container the proxy has to listen on more than
# loopback: publish its port on 127.0.0.1 of the host only, as infra/docker/compose.yaml does.
FROM scratch
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY fluidity /fluidity
USER 65532:65532
EXPOSE 8080/tcp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/fluidity", "status"]
ENTRYPOINT ["/fluidity"]
CMD ["run"]
