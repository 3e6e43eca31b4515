# Everything that is installed, and the Debian package (./dev deb).

include(GNUInstallDirs)

set(made ${CMAKE_BINARY_DIR}/generated)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
  lua/tidegate/config/starter.lua docs/man/tidegate.1 docs/man/tidegate.yml.5)

execute_process(
  COMMAND ${LUAJIT_EXECUTABLE} -e "io.write(dofile('lua/tidegate/config/starter.lua').TEXT)"
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
  OUTPUT_FILE ${made}/tidegate.yml COMMAND_ERROR_IS_FATAL ANY)
foreach(page 1 yml.5)
  execute_process(
    COMMAND gzip -9nc ${CMAKE_SOURCE_DIR}/docs/man/tidegate.${page}
    OUTPUT_FILE ${made}/tidegate.${page}.gz COMMAND_ERROR_IS_FATAL ANY)
endforeach()

install(TARGETS tidegate)
install(FILES ${made}/tidegate.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${made}/tidegate.yml.5.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES runtime/packaging/completions/tidegate.bash RENAME tidegate
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES runtime/packaging/completions/_tidegate DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(FILES runtime/packaging/completions/tidegate.fish
  DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES LICENSE RENAME copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/tidegate)
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/tidegate)
install(FILES runtime/packaging/systemd/tidegate.service DESTINATION lib/systemd/system)
install(FILES ${made}/tidegate.yml DESTINATION /etc/tidegate
  PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ)

set(CPACK_GENERATOR DEB)
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_NAME tidegate)
set(CPACK_PACKAGE_CONTACT "tidegate <root@localhost>")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "programmable tunnel for every kind of traffic
Listens with one protocol, leaves through a chain of others, and takes the
command line and configuration files of gost v3.  Bytes are carried in C;
every decision is a Lua function that a script can replace.")
# What is linked is found by dpkg-shlibdeps, so the names are those of the release it is built on;
# what Lua loads is not.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "lua-cjson, lua-yaml, passwd")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "luarocks")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${CMAKE_SOURCE_DIR}/runtime/packaging/debian/conffiles ${CMAKE_SOURCE_DIR}/runtime/packaging/debian/postinst
  ${CMAKE_SOURCE_DIR}/runtime/packaging/debian/prerm ${CMAKE_SOURCE_DIR}/runtime/packaging/debian/postrm)
include(CPack)
